// Equal logits give the tokens and the scores on a GPU that the CPU's sampler
// gives, whatever sequences ask for.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "model/cuda/plan_upload.h"
#include "model/kernels/cuda/sampling_kernels.h"
#include "model/sampler.h"
#include "tests/model/cuda/device_array.h"

namespace drover {
namespace {

using kernels::cuda::DeviceArray;
using kernels::cuda::SampledToken;
using kernels::cuda::SeenWords;
using kernels::cuda::SlotSampling;
using kernels::cuda::TopEntry;

constexpr int32_t kNumRows = 48;
constexpr int32_t kMaxTopN = 5;
const std::vector<int32_t> kEosIds = {2, 301};

// What one sequence asks for, and where it is.
struct Row {
  SamplingParams params;
  std::vector<int32_t> observed;
  int32_t num_generated = 0;
  std::vector<float> logits;
};

class SamplerAgreementTest : public testing::TestWithParam<int32_t> {
 protected:
  void SetUp() override {
    for (int32_t row = 0; row < kNumRows; ++row) rows_.push_back(RandomRow());
  }

  static int32_t vocab_size() { return GetParam(); }
  // Rows and slots are in unlike orders.
  static int32_t SlotOf(int32_t row) { return kNumRows - 1 - row; }

  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[random_() % values.size()];
  }

  Row RandomRow() {
    Row row;
    row.params = {.greedy = random_() % 4 == 0,
                  .temperature = OneOf({0.3f, 1.0f, 2.5f}),
                  .top_k = OneOf({0, 0, 1, 7, 60, 5000}),
                  .top_p = OneOf({1.0f, 1.0f, 0.95f, 0.2f}),
                  .typical_p = OneOf({1.0f, 1.0f, 0.9f, 0.3f}),
                  .repetition_penalty = OneOf({1.0f, 1.4f, 0.6f}),
                  .min_new_tokens = OneOf({0, 0, 4}),
                  .seed = uint64_t{random_()} << 32 | random_(),
                  .token_scores = random_() % 2 == 0,
                  .top_n = OneOf({0, 1, kMaxTopN})};
    if (random_() % 3 == 0) {
      row.params.length_penalty = {.start_index = OneOf({0, 3}),
                                   .decay_factor = OneOf({1.0f, 1.5f, 10.0f})};
    }
    row.num_generated = static_cast<int32_t>(random_() % 9);
    // The best ones, so that it matters that they were there before.
    row.logits = RandomLogits();
    for (int32_t id = 0; id < vocab_size(); ++id) {
      if (std::abs(row.logits[id]) > 8.0f) row.observed.push_back(id);
    }
    row.observed.push_back(kEosIds.back());
    return row;
  }

  // Half of the rows have many equals.
  std::vector<float> RandomLogits() {
    std::normal_distribution<float> normal(0.0f, 3.0f);
    const bool is_coarse = random_() % 2 == 0;
    std::vector<float> logits(static_cast<size_t>(vocab_size()));
    for (float& logit : logits) {
      logit = normal(random_);
      if (is_coarse) logit = std::round(logit * 2.0f) / 2.0f;
    }
    return logits;
  }

  // The GPU's outcome of all rows.
  void SampleOnGpu(bool scores_raw_logits) {
    std::vector<SlotSampling> params(kNumRows);
    std::vector<int32_t> slots;
    std::vector<int32_t> num_generated(kNumRows);
    std::vector<float> logits;
    std::vector<int32_t> observed;
    std::vector<int32_t> observed_slots;
    for (int32_t row = 0; row < kNumRows; ++row) {
      const int32_t slot = SlotOf(row);
      slots.push_back(slot);
      params[slot] = cuda::ToSlotSampling(rows_[row].params);
      num_generated[slot] = rows_[row].num_generated;
      logits.insert(logits.end(), rows_[row].logits.begin(),
                    rows_[row].logits.end());
      for (const int32_t id : rows_[row].observed) {
        observed.push_back(id);
        observed_slots.push_back(slot);
      }
    }
    const DeviceArray<SlotSampling> device_params(params);
    const DeviceArray<int32_t> device_slots(slots);
    const DeviceArray<int32_t> device_num_generated(num_generated);
    const DeviceArray<int32_t> last_token(std::vector<int32_t>(kNumRows, -1));
    const DeviceArray<uint32_t> seen(
        std::vector<uint32_t>(kNumRows * SeenWords(vocab_size())));
    const DeviceArray<float> device_logits(logits);
    const DeviceArray<float> raw_logits(logits);
    const DeviceArray<int32_t> eos_ids(kEosIds);
    const DeviceArray<int32_t> ids(observed);
    const DeviceArray<int32_t> id_slots(observed_slots);
    const DeviceArray<SampledToken> results(
        std::vector<SampledToken>(kNumRows, SampledToken()));
    const DeviceArray<TopEntry> top(
        std::vector<TopEntry>(kNumRows * 4 * kMaxTopN, TopEntry()));
    const DeviceArray<unsigned char> workspace(std::vector<unsigned char>(
        kernels::cuda::SamplerWorkspaceBytes(kNumRows, vocab_size())));
    kernels::cuda::Observe({.ids = ids.get(),
                            .slots = id_slots.get(),
                            .seen = seen.get(),
                            .num_ids = static_cast<int32_t>(observed.size()),
                            .vocab_size = vocab_size()},
                           nullptr);
    kernels::cuda::Sample(
        {.logits = device_logits.get(),
         .slots = device_slots.get(),
         .state = {.params = device_params.get(),
                   .num_generated = device_num_generated.get(),
                   .last_token = last_token.get(),
                   .seen = seen.get()},
         .eos_ids = eos_ids.get(),
         .num_eos = static_cast<int32_t>(kEosIds.size()),
         .results = results.get(),
         .top = top.get(),
         .max_top_n = kMaxTopN,
         .raw_logits = scores_raw_logits ? raw_logits.get() : nullptr,
         .workspace = workspace.get(),
         .num_rows = kNumRows,
         .vocab_size = vocab_size()},
        nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    results_ = results.Read();
    top_ = top.Read();
    last_token_ = last_token.Read();
    num_generated_ = device_num_generated.Read();
    seen_ = seen.Read();
  }

  SequenceSampler::Choice SampleOnCpu(const Row& row) const {
    SequenceSampler sampler(row.params, kEosIds, vocab_size());
    sampler.Observe(row.observed);
    std::vector<float> logits = row.logits;
    return sampler.Sample(absl::MakeSpan(logits), row.num_generated);
  }

  void ExpectScores(int32_t row, const TokenScore& expected) const {
    const SampledToken& actual = results_[row];
    EXPECT_NEAR(actual.logprob, expected.logprob, 1e-4f);
    EXPECT_EQ(actual.rank, expected.rank);
    ASSERT_EQ(static_cast<size_t>(actual.num_top), expected.top.size());
    for (size_t i = 0; i < expected.top.size(); ++i) {
      const TopEntry& entry = top_[row * 4 * kMaxTopN + i];
      EXPECT_EQ(entry.id, expected.top[i].id) << "place " << i;
      EXPECT_NEAR(entry.logprob, expected.top[i].logprob, 1e-4f);
    }
  }

  bool HasSeen(int32_t slot, int32_t id) const {
    return (seen_[slot * SeenWords(vocab_size()) + id / 32] >> id % 32 & 1) !=
           0;
  }

  std::mt19937 random_{17};
  std::vector<Row> rows_;
  std::vector<SampledToken> results_;
  std::vector<TopEntry> top_;
  std::vector<int32_t> last_token_;
  std::vector<int32_t> num_generated_;
  std::vector<uint32_t> seen_;
};

TEST_P(SamplerAgreementTest, TokensAndScoresAreTheCpus) {
  SampleOnGpu(/*scores_raw_logits=*/false);
  for (int32_t index = 0; index < kNumRows; ++index) {
    SCOPED_TRACE(index);
    const Row& row = rows_[index];
    const SequenceSampler::Choice choice = SampleOnCpu(row);
    ASSERT_EQ(results_[index].status, static_cast<int32_t>(choice.status));
    ASSERT_EQ(results_[index].id, choice.token.id);
    if (row.params.token_scores || row.params.top_n > 0) {
      ExpectScores(index, choice.token);
    }
  }
}

TEST_P(SamplerAgreementTest, RawScoresAreThoseOfTheLogitsAsTheyCame) {
  SampleOnGpu(/*scores_raw_logits=*/true);
  for (int32_t index = 0; index < kNumRows; ++index) {
    SCOPED_TRACE(index);
    const Row& row = rows_[index];
    const int32_t id = SampleOnCpu(row).token.id;
    ASSERT_EQ(results_[index].id, id);
    if (row.params.token_scores || row.params.top_n > 0) {
      ExpectScores(index, ScoreToken(row.logits, id, row.params.top_n));
    }
  }
}

TEST_P(SamplerAgreementTest, TheChoiceIsKeptForTheNextStep) {
  SampleOnGpu(/*scores_raw_logits=*/false);
  for (int32_t index = 0; index < kNumRows; ++index) {
    SCOPED_TRACE(index);
    const int32_t slot = SlotOf(index);
    const int32_t id = results_[index].id;
    EXPECT_EQ(results_[index].slot, slot);
    EXPECT_EQ(last_token_[slot], id);
    EXPECT_EQ(num_generated_[slot], rows_[index].num_generated + 1);
    if (rows_[index].params.repetition_penalty != 1.0f) {
      EXPECT_TRUE(HasSeen(slot, id));
    }
  }
}

// One that a thread block has at once, LLaMA 2's, one whose rows are not
// aligned, LLaMA 3's.
INSTANTIATE_TEST_SUITE_P(Sizes, SamplerAgreementTest,
                         testing::Values(320, 32000, 40003, 128256));

}  // namespace
}  // namespace drover
