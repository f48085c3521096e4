#include "server/server_info_service.h"

namespace drover {

ServerInfoService::ServerInfoService(const DeviceFacts& device,
                                     const ExecutorInfo& executor) {
  answer_.set_device(device.name);
  answer_.set_compute_capability(device.compute_capability);
  answer_.set_driver(device.driver);
  answer_.set_num_threads(device.num_threads);
  answer_.set_memory_bytes(device.memory_bytes);
  answer_.set_free_bytes_at_start(device.free_bytes_at_start);
  answer_.set_free_bytes(device.free_bytes);
  answer_.set_kv_cache_bytes(device.kv_cache_bytes);
  answer_.set_num_kv_blocks(executor.num_blocks - 1);  // without the scratch
  answer_.set_kv_block_tokens(kBlockSize);
  answer_.set_max_sequence_length(executor.max_sequence_length);
  answer_.set_num_full_length_requests(NumFullLengthSequences(executor));
  answer_.set_max_batch_size(executor.num_slots);
}

grpc::ServerUnaryReactor* ServerInfoService::Describe(
    grpc::CallbackServerContext* context,
    const info::DescribeRequest* /*request*/,
    info::DescribeResponse* response) {
  *response = answer_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace drover
