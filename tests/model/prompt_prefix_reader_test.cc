#include "model/prompt_prefix_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "model/float16.h"
#include "tests/model/safetensors_builder.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(float)};
}

// One F32 tensor of this shape, filled with `value`.
std::string OneTensor(const std::string& name, const std::string& shape,
                      size_t size, float value = 0.5f) {
  return SafetensorsBytes(R"({")" + name + R"(": {"dtype": "F32", "shape": )" +
                              shape + R"(, "data_offsets": [0, )" +
                              std::to_string(4 * size) + "]}}",
                          Bytes(std::vector<float>(size, value)));
}

absl::StatusOr<PromptPrefix> Read(const std::string& file,
                                  DType dtype = DType::kFloat32) {
  const PrefixShape shape = {.hidden_size = 4, .max_tokens = 3, .dtype = dtype};
  return ReadPromptPrefix(
      "p/f.safetensors",
      absl::MakeSpan(reinterpret_cast<const std::byte*>(file.data()),
                     file.size()),
      shape);
}

TEST(PromptPrefixReaderTest, RowsAreThoseOfTheFile) {
  const std::vector<float> values = {1, 2, 3, 4, -5, 6, 7, 0.125};
  const std::string file = SafetensorsBytes(
      R"({"prompt_embeddings": {"dtype": "F32", "shape": [2, 4],
                                "data_offsets": [0, 32]}})",
      Bytes(values));
  const auto prefix = Read(file);
  ASSERT_THAT(prefix, IsOk());
  EXPECT_EQ(prefix->num_tokens, 2);
  EXPECT_EQ(prefix->rows, Bytes(values));
}

TEST(PromptPrefixReaderTest, AnyNameWillDoForTheOnlyTensor) {
  EXPECT_THAT(Read(OneTensor("weight", "[3, 4]", 12)), IsOk());
}

TEST(PromptPrefixReaderTest, OfSeveralTensorsTheNameDecides) {
  const auto two = [](const std::string& name) {
    return SafetensorsBytes(
        R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            ")" +
            name + R"(": {"dtype": "F32", "shape": [1, 4],
                                "data_offsets": [4, 20]}})",
        Bytes({9, 1, 2, 3, 4}));
  };
  const auto prefix = Read(two("prompt_embeddings"));
  ASSERT_THAT(prefix, IsOk());
  EXPECT_EQ(prefix->rows, Bytes({1, 2, 3, 4}));
  EXPECT_THAT(Read(two("lora_A")),
              StatusIs(kInvalid,
                       "p/f.safetensors: 2 tensors, and none is "
                       "prompt_embeddings"));
}

struct ShapeCase {
  const char* situation;
  std::string shape;
  size_t size;
  const char* message;
};

TEST(PromptPrefixReaderTest, ShapesThatDoNotFitTheModelAreRefused) {
  const ShapeCase cases[] = {
      {"one dimension", "[4]", 4, "Invalid prefix embedding tensor"},
      {"three", "[1, 1, 4]", 4, "Invalid prefix embedding tensor"},
      {"no rows", "[0, 4]", 0, "Invalid prefix embedding length of 0"},
      {"too many", "[4, 4]", 16, "Invalid prefix embedding length of 4"},
      {"another model's", "[2, 5]", 10,
       "Prefix embedding tensor dim 5 does not match model (4)"},
  };
  for (const ShapeCase& row : cases) {
    EXPECT_THAT(Read(OneTensor("prompt_embeddings", row.shape, row.size)),
                StatusIs(kInvalid, row.message))
        << row.situation;
  }
}

TEST(PromptPrefixReaderTest, EveryElementIsFiniteInTheModelsDType) {
  const auto of = [](float value) {
    return OneTensor("prompt_embeddings", "[1, 4]", 4, value);
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float value : {infinity, -infinity, nan}) {
    EXPECT_THAT(Read(of(value)),
                StatusIs(kInvalid, "Prefix contains non-finite elements"));
  }
  EXPECT_THAT(Read(of(65519.0f), DType::kFloat16), IsOk());
  EXPECT_THAT(Read(of(65520.0f), DType::kFloat16),
              StatusIs(kInvalid,
                       "Prefix contains non-finite elements after conversion "
                       "from float32 to float16"));
  EXPECT_THAT(Read(of(65520.0f), DType::kBFloat16), IsOk());
  EXPECT_THAT(Read(of(3.4e38f), DType::kBFloat16),
              StatusIs(kInvalid,
                       "Prefix contains non-finite elements after conversion "
                       "from float32 to bfloat16"));
}

TEST(PromptPrefixReaderTest, AFileThatIsNoSafetensorsIsRefusedByItsName) {
  EXPECT_THAT(Read("PK\x03\x04 a pickle"),
              StatusIs(kInvalid, testing::StartsWith("p/f.safetensors: ")));
  EXPECT_THAT(Read(""), StatusIs(kInvalid, testing::HasSubstr("0 bytes")));
}

TEST(PromptPrefixReaderTest, SixteenBitsBecomeTheModelsOwn) {
  // 1, -2, 0.5, 2^-24 in half precision.
  const std::string half("\x00\x3c\x00\xc0\x00\x38\x01\x00", 8);
  const std::string file = SafetensorsBytes(
      R"({"x": {"dtype": "F16", "shape": [1, 4], "data_offsets": [0, 8]}})",
      half);
  EXPECT_EQ(Read(file)->rows, Bytes({1.0f, -2.0f, 0.5f, 0x1p-24f}));
  EXPECT_EQ(Read(file, DType::kFloat16)->rows, half);
  // The upper halves of the floats.
  EXPECT_EQ(Read(file, DType::kBFloat16)->rows,
            std::string("\x80\x3f\x00\xc0\x00\x3f\x80\x33", 8));
}

TEST(Float16Test, EveryHalfSurvivesTheWayThroughFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
    } else {
      EXPECT_EQ(FloatToHalf(value), half) << value;
    }
  }
}

TEST(Float16Test, RoundsToTheNearestTiesToEven) {
  // Between every two neighbours: just below the middle, the middle, above.
  for (uint16_t low = 0; low < 0x7bff; ++low) {
    const auto high = static_cast<uint16_t>(low + 1);
    const float middle = (HalfToFloat(low) + HalfToFloat(high)) / 2;
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), low);
    EXPECT_EQ(FloatToHalf(middle), low % 2 == 0 ? low : high);
    EXPECT_EQ(FloatToHalf(std::nextafter(middle, 1e9f)), high);
    EXPECT_EQ(FloatToHalf(-middle), 0x8000 | (low % 2 == 0 ? low : high));
  }
}

}  // namespace
}  // namespace drover
