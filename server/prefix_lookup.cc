#include "server/prefix_lookup.h"

#include <optional>
#include <utility>

#include "server/lookup_board.h"

namespace drover {

PrefixLookup::Options PrefixLookup::InStore(PrefixStore::Options store) {
  const int32_t pad_id = store.pad_id;
  const auto shared = std::make_shared<PrefixStore>(std::move(store));
  return {.find = [shared](const std::string& id) { return shared->Find(id); },
          .pad_id = pad_id};
}

PrefixLookup::PrefixLookup(Options options)
    : options_(std::move(options)),
      board_(std::make_shared<LookupBoard>(options_.limit,
                                           options_.num_threads)) {}

void PrefixLookup::StartThreads() {
  delivery_ = std::thread([this] { Deliver(); });
  for (size_t i = 0; i < static_cast<size_t>(options_.num_threads); ++i) {
    // Not `this`, which may be gone when a lookup is done.
    lookups_.emplace_back([i, board = board_, find = options_.find] {
      while (const std::optional<std::string> id = board->Take(i)) {
        board->Report(i, *id, find(*id));
      }
    });
  }
}

PrefixLookup::~PrefixLookup() {
  End();
  if (!delivery_.joinable()) return;  // nobody has asked
  delivery_.join();
  for (size_t i = 0; i < lookups_.size(); ++i) {
    if (board_->IsBusy(i)) {
      lookups_[i].detach();
    } else {
      lookups_[i].join();
    }
  }
}

void PrefixLookup::Find(const std::string& id, Done done) {
  if (id.empty()) return done(SharedPrefix());
  // Before it waits or is repeated.
  if (const absl::Status checked = CheckPrefixId(id); !checked.ok()) {
    return done(checked);
  }
  if (const absl::Status asked = board_->Ask(id, done); !asked.ok()) {
    return done(asked);
  }
  absl::call_once(has_threads_, [this] { StartThreads(); });
}

void PrefixLookup::End() { board_->End(); }

void PrefixLookup::Deliver() {
  while (true) {
    LookupBoard::News news = board_->AwaitNews();
    if (news.empty()) return;
    // First, so that whoever has an answer finds its load counted.
    for (const absl::Duration time : news.load_times) {
      if (options_.on_loaded) options_.on_loaded(time);
    }
    for (LookupBoard::Answer& answer : news.answers) {
      answer.done(std::move(answer.prefix));
    }
  }
}

}  // namespace drover
