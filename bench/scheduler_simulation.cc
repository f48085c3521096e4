// The scheduler under load, in simulated time: what a change of its judgements
// does to throughput and waiting, without a GPU and in a second. A step takes
// as long as Llama-3.1-8B takes for it on an H200, by what
// docs/benchmarks/h200.md says, or Llama-2-70B on two; of the host nothing
// counts. The first loads are those of scripts/gpu/bench.sh.
//
//   scheduler_simulation [TARGET_STEP_MS [0: prompts as they come]]
//
// ITL is that of all while requests that count for TTFT are being answered.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/scheduler.h"
#include "server/client/bench/summary.h"

namespace drover {
namespace {

constexpr int32_t kCacheTokens = 899000;
// From a request's last token to the next one's arrival.
constexpr double kClientMs = 0.2;

// What a step's parts take, in milliseconds.
struct Costs {
  // Of products, norms, head and sampler: up to 64 rows, then of whole tiles,
  // then what sustained products take.
  double few_rows = 0.0;
  double per_few_row = 0.0;
  std::array<double, 3> tiles = {};  // 128, 192 and 256 rows
  double per_row = 0.0;
  double per_key = 0.0;   // as many sequences read
  double per_pair = 0.0;  // of a prompt's token and a key
  double chunk = 0.0;     // rotation, a kernel of its own, ...

  double Rows(int32_t num_rows) const {
    if (num_rows <= 64) return few_rows + per_few_row * num_rows;
    if (num_rows <= 256) {
      return tiles[static_cast<size_t>(RoundUpToTiles(num_rows) / 64 - 2)];
    }
    return tiles.back() + per_row * (num_rows - 256);
  }

  double Step(const StepLoad& load) const {
    return Rows(load.num_rows()) +
           per_key * static_cast<double>(load.num_decode_keys) +
           per_pair * static_cast<double>(load.num_prefill_pairs) +
           (load.num_prefill_tokens > 0 ? chunk : 0.0);
  }
};

constexpr Costs k8B = {.few_rows = 3.75,
                       .per_few_row = 0.0075,
                       .tiles = {5.0, 6.2, 7.7},
                       .per_row = 0.0217,
                       .per_key = 128 * 1024 / 4.4e9,
                       .per_pair = 7.7e-7,
                       .chunk = 0.2};

// Of 70B on two GPUs, by what one of the ranks takes and what sums over both
// took before (docs/benchmarks/tensor-parallel.md): a forecast.
constexpr Costs k70BOnTwo = {.few_rows = 18.6,
                             .per_few_row = 0.019,
                             .tiles = {23.5, 27.9, 34.0},
                             .per_row = 0.095,
                             .per_key = 160 * 1024 / 4.4e9,
                             .per_pair = 1.9e-6,
                             .chunk = 0.4};

// The device's side of plans: where each sequence is.
class Device {
 public:
  // What the step computes, and its result.
  StepLoad Run(const BatchPlan& plan, StepResult& result) {
    for (const SlotRef& ref : plan.releases) slots_.erase(ref.slot);
    for (const SequenceAdmission& admission : plan.admissions) {
      slots_[admission.slot.slot] = {
          .ref = admission.slot,
          .num_admitted = static_cast<int32_t>(admission.token_ids.size())};
    }
    std::map<int32_t, const SequenceWork*> named;
    for (const SequenceWork& work : plan.work) named[work.slot] = &work;
    StepLoad load;
    result.step = plan.step;
    for (auto& [index, slot] : slots_) {
      const auto work = named.find(index);
      const bool is_named = work != named.end();
      const int32_t num_tokens = is_named ? work->second->num_tokens : 1;
      if (num_tokens == 0) continue;
      if (slot.num_computed < slot.num_admitted) {
        load.AddChunk(num_tokens, slot.num_computed);
      } else {
        load.AddDecode(slot.num_computed);
      }
      slot.num_computed += num_tokens;
      if (is_named && !work->second->sample) continue;
      result.sequences.push_back({.slot = slot.ref, .tokens = {{.id = 9}}});
    }
    return load;
  }

 private:
  struct Slot {
    SlotRef ref;
    int32_t num_admitted = 0;
    int32_t num_computed = 0;
  };

  std::map<int32_t, Slot> slots_;
};

struct Arrival {
  double ms = 0.0;
  int32_t input = 0;
  int32_t output = 0;
  bool is_counted = true;  // for TTFT
};

struct Load {
  const char* name;
  int32_t max_batch_size;
  int32_t max_step_tokens;
  std::vector<Arrival> arrivals;  // by time
  // As soon as a request ends, another one like it comes, so many times, if all
  // others come at once.
  int32_t num_more = 0;
  Costs costs = k8B;
};

class Simulation {
 public:
  Simulation(Load load, const SchedulerOptions& options)
      : load_(std::move(load)),
        arrivals_(load_.arrivals.begin(), load_.arrivals.end()),
        num_to_answer_(load_.num_more +
                       std::count_if(arrivals_.begin(), arrivals_.end(),
                                     [](const Arrival& arrival) {
                                       return arrival.is_counted;
                                     })),
        scheduler_(options, {.num_slots = load_.max_batch_size,
                             .num_blocks = kCacheTokens / kBlockSize + 1,
                             .max_step_tokens = load_.max_step_tokens,
                             .max_sequence_length = 32768}) {}

  void Run() {
    while (true) {
      while (!arrivals_.empty() && arrivals_.front().ms <= now_ms_) Add();
      while (std::optional<BatchPlan> plan = scheduler_.Plan(now())) {
        plans_.push_back(*std::move(plan));
      }
      if (!plans_.empty()) {
        RunStep();
      } else if (!arrivals_.empty()) {
        now_ms_ = arrivals_.front().ms;
      } else {
        break;
      }
    }
    if (!open_.empty()) Fail("the scheduler leaves requests unanswered");
    const bench::Summary ttft = bench::Summarize(ttft_);
    const bench::Summary itl = bench::Summarize(itl_);
    std::printf(
        "%-13s %6.0f tok/s   TTFT %6.0f %6.0f   ITL %6.2f %6.2f %6.1f\n",
        load_.name, static_cast<double>(num_tokens_) / now_ms_ * 1e3,
        absl::ToDoubleMilliseconds(ttft.p50),
        absl::ToDoubleMilliseconds(ttft.p90),
        absl::ToDoubleMilliseconds(itl.p50),
        absl::ToDoubleMilliseconds(itl.p99),
        absl::ToDoubleMilliseconds(itl.max));
  }

 private:
  struct Open {
    Arrival arrival;
    double last_ms = 0.0;  // its newest token's; 0: none yet
  };

  absl::Time now() const {
    return absl::UnixEpoch() + absl::Milliseconds(now_ms_);
  }

  [[noreturn]] static void Fail(const std::string& message) {
    std::fprintf(stderr, "error: %s\n", message.c_str());
    std::exit(1);
  }

  void Add() {
    const Arrival& arrival = arrivals_.front();
    has_begun_ |= arrival.is_counted;
    scheduler_.Add(++last_id_, {.prompt_ids = std::vector<int32_t>(
                                    static_cast<size_t>(arrival.input), 7),
                                .sampling = {.min_new_tokens = arrival.output},
                                .max_new_tokens = arrival.output});
    open_[last_id_].arrival = arrival;
    arrivals_.pop_front();
  }

  void RunStep() {
    StepResult result;
    const double step_ms =
        load_.costs.Step(device_.Run(plans_.front(), result));
    plans_.pop_front();
    now_ms_ += step_ms;
    result.total_time = absl::Milliseconds(step_ms);
    const absl::Status status = scheduler_.Commit(result, now());
    if (!status.ok()) Fail(status.ToString());
    for (const auto& [id, event] : scheduler_.TakeEvents()) {
      const auto open = open_.find(id);
      if (std::holds_alternative<RequestToken>(event)) {
        CountToken(open->second);
      } else if (std::holds_alternative<RequestEnded>(event)) {
        if (load_.num_more-- > 0) {
          arrivals_.push_back(open->second.arrival);
          arrivals_.back().ms = now_ms_ + kClientMs;
        }
        open_.erase(open);
      }
    }
  }

  void CountToken(Open& request) {
    ++num_tokens_;
    const bool is_first = request.last_ms == 0.0;
    if (is_first && request.arrival.is_counted) {
      ttft_.push_back(absl::Milliseconds(now_ms_ - request.arrival.ms));
    } else if (!is_first && has_begun_ && std::ssize(ttft_) < num_to_answer_) {
      itl_.push_back(absl::Milliseconds(now_ms_ - request.last_ms));
    }
    request.last_ms = now_ms_;
  }

  Load load_;
  std::deque<Arrival> arrivals_;
  const int64_t num_to_answer_;  // that count
  bool has_begun_ = false;       // the first of these has come
  Scheduler scheduler_;
  Device device_;
  std::deque<BatchPlan> plans_;  // in flight
  std::map<RequestId, Open> open_;
  RequestId last_id_ = 0;
  double now_ms_ = 0.0;
  int64_t num_tokens_ = 0;
  std::vector<absl::Duration> ttft_;
  std::vector<absl::Duration> itl_;
};

std::vector<Arrival> AtOnce(int32_t count, int32_t input, int32_t output) {
  return std::vector<Arrival>(static_cast<size_t>(count),
                              {.input = input, .output = output});
}

std::vector<Arrival> Poisson(int32_t count, double per_second, int32_t input,
                             int32_t output) {
  std::mt19937 random(1);
  std::exponential_distribution<double> pause(per_second / 1e3);
  std::vector<Arrival> arrivals = AtOnce(count, input, output);
  double ms = 0.0;
  for (Arrival& arrival : arrivals) arrival.ms = ms += pause(random);
  return arrivals;
}

// 64 streams, and from the first half second on `count` prompts of 16,384
// tokens, one after the other. Only these count for TTFT.
std::vector<Arrival> Mixed(int32_t count, double every_ms) {
  constexpr int32_t kMostStepsPerSecond = 200;
  const double end_ms = 500.0 + count * every_ms;
  std::vector<Arrival> arrivals =
      AtOnce(64, 128, static_cast<int32_t>(end_ms / 1e3 * kMostStepsPerSecond));
  for (Arrival& stream : arrivals) stream.is_counted = false;
  for (int32_t i = 0; i < count; ++i) {
    arrivals.push_back(
        {.ms = 500.0 + i * every_ms, .input = 16384, .output = 1});
  }
  return arrivals;
}

// 15 short requests a second and a prompt of 16,384 tokens every two; the ones
// or the others count for TTFT.
std::vector<Arrival> ShortBesideLong(bool long_count) {
  std::vector<Arrival> arrivals = Poisson(300, 15.0, 200, 100);
  for (Arrival& arrival : arrivals) arrival.is_counted = !long_count;
  for (int32_t i = 0; i < 10; ++i) {
    arrivals.push_back({.ms = 1000.0 + i * 2000.0,
                        .input = 16384,
                        .output = 100,
                        .is_counted = long_count});
  }
  std::sort(arrivals.begin(), arrivals.end(),
            [](const Arrival& a, const Arrival& b) { return a.ms < b.ms; });
  return arrivals;
}

std::vector<Load> Loads() {
  return {
      {"64x128", 512, 4096, AtOnce(64, 128, 128), 2048 - 64},
      {"3000x128", 1536, 4096, AtOnce(3000, 128, 128)},
      {"1000x1000", 512, 2048, AtOnce(1000, 1000, 1000)},
      {"400x2048", 512, 2048, AtOnce(400, 2048, 2048)},
      {"poisson, 10/s", 512, 2048, Poisson(300, 10.0, 512, 128)},
      {"poisson, 30/s", 512, 2048, Poisson(900, 30.0, 512, 128)},
      {"long, 3/s", 512, 2048, Poisson(90, 3.0, 3600, 300)},
      {"short, beside", 512, 2048, ShortBesideLong(/*long_count=*/false)},
      {"long, beside", 512, 2048, ShortBesideLong(/*long_count=*/true)},
      {"mixed, 1/s", 96, 2048, Mixed(8, 1000.0)},
      {"mixed, 1/2 s", 96, 2048, Mixed(4, 2000.0)},
      {"70B, 64: 192", 64, 4096, AtOnce(64, 512, 128), 192 - 64, k70BOnTwo},
      {"70B, 64: 1024", 64, 4096, AtOnce(64, 512, 128), 1024 - 64, k70BOnTwo},
      {"70B, 256: 512", 256, 4096, AtOnce(256, 512, 128), 256, k70BOnTwo},
      {"70B, 256: 1024", 256, 4096, AtOnce(256, 512, 128), 768, k70BOnTwo},
  };
}

int Main(int argc, char** argv) {
  const double target_ms = argc > 1 ? std::atof(argv[1]) : 0.0;
  const bool spreads = argc <= 2 || std::atoi(argv[2]) != 0;
  std::printf("%-32s p50    p90       p50    p99    max, ms\n", "");
  for (Load& load : Loads()) {
    Simulation(std::move(load),
               {.target_step_time = absl::Milliseconds(target_ms),
                .spread_prompts = spreads})
        .Run();
  }
  return 0;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) { return drover::Main(argc, argv); }
