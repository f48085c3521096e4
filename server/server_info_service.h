#pragma once

#include "model/device_facts.h"
#include "proto/server_info.grpc.pb.h"
#include "scheduler/executor.h"

namespace drover {

// drover.info.ServerInfo: what the model runs on and how much fits, as it was
// when the executor became ready. Thread-safe.
class ServerInfoService final : public info::ServerInfo::CallbackService {
 public:
  ServerInfoService(const DeviceFacts& device, const ExecutorInfo& executor);

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const info::DescribeRequest* request,
                                     info::DescribeResponse* response) override;

 private:
  info::DescribeResponse answer_;
};

}  // namespace drover
