#include "server/environment_name.h"

#include <cctype>

namespace drover {

std::string EnvironmentName(std::string_view flag) {
  std::string name(flag.substr(flag.find("--") + 2));
  for (char& c : name) {
    c = c == '-' ? '_'
                 : static_cast<char>(std::toupper(static_cast<uint8_t>(c)));
  }
  return name;
}

}  // namespace drover
