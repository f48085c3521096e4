#include "server/environment_name.h"

#include <cctype>

namespace drover {

std::string EnvironmentName(std::string_view flag) {
  flag.remove_prefix(flag.find("--") + 2);
  std::string name(flag.substr(0, flag.find(',')));
  for (char& c : name) {
    c = c == '-' ? '_'
                 : static_cast<char>(std::toupper(static_cast<uint8_t>(c)));
  }
  return name;
}

}  // namespace drover
