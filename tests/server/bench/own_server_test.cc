#include "server/client/bench/own_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sharding/exit_status.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<OwnServer> StartFake(std::vector<std::string> options) {
  auto server = OwnServer::Start(FAKE_DROVER_BINARY, std::move(options));
  EXPECT_THAT(server, IsOk());
  return *std::move(server);
}

TEST(OwnServer, TellsItsPortAndEndsWhenAsked) {
  const TempDir dir;
  const std::string words_file = dir.path() + "/words";
  const auto server =
      StartFake({"--tell-port=1234", StrCat("--note-words=", words_file)});
  const auto port = server->AwaitReady();
  ASSERT_THAT(port, IsOk());
  EXPECT_EQ(*port, 1234);
  server->Stop();
  EXPECT_THAT(server->AwaitEnd(), IsOk());
  std::ifstream file(words_file);
  const std::string words(std::istreambuf_iterator<char>(file), {});
  EXPECT_THAT(words, StartsWith("serve --host=127.0.0.1 --grpc-port=0 "));
  EXPECT_THAT(words, HasSubstr(" --tell-port=1234 "));
}

TEST(OwnServer, ABadEndIsToldToo) {
  const auto server = StartFake({"--tell-port=1234", "--end-status=1"});
  ASSERT_THAT(server->AwaitReady(), IsOk());
  server->Stop();
  EXPECT_EQ(server->AwaitEnd(),
            absl::UnavailableError("the server exited with status 1"));
}

TEST(OwnServer, AModelThatDoesNotFitIsToldApartByTheExitStatus) {
  const auto server = StartFake({"--give-up=the weights take 129 GiB",
                                 StrCat("--give-up-status=", kExitDoesNotFit)});
  EXPECT_THAT(server->AwaitReady(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "the weights take 129 GiB"));
}

TEST(OwnServer, AnyOtherFailureCarriesItsCause) {
  const auto server = StartFake({"--give-up=no GPU", "--give-up-status=1"});
  EXPECT_THAT(server->AwaitReady(),
              StatusIs(absl::StatusCode::kUnavailable,
                       "the server exited with status 1: no GPU"));
}

TEST(OwnServer, ACrashCarriesItsLastWords) {
  const TempDir dir;
  const std::string program = dir.Write(
      "drover", "#!/bin/sh\necho 3\necho '{\"level\":3}'\nkill -6 $$\n");
  chmod(program.c_str(), 0700);
  const auto server = OwnServer::Start(program, {});
  ASSERT_THAT(server, IsOk());
  EXPECT_THAT((*server)->AwaitReady(),
              StatusIs(absl::StatusCode::kUnavailable,
                       "the server was killed by signal 6 (Aborted): 3"));
}

TEST(OwnServer, MayBeAskedToEndBeforeItIsReady) {
  const auto server = StartFake({});
  server->Stop();
  EXPECT_THAT(server->AwaitReady(), StatusIs(absl::StatusCode::kUnavailable,
                                             StartsWith("the server ")));
}

TEST(OwnServer, AProgramThatIsNotThereIsNamed) {
  EXPECT_THAT(
      OwnServer::Start("/no/such/drover", {}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/drover")));
}

}  // namespace
}  // namespace drover::bench
