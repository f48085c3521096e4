# drover::server_process  everything of the process but main: options, logs,
#                         metrics, health, HTTP, start and end
# drover::client          generate, tokenize, info
# drover                  the program
find_package(civetweb CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)

drover_library(server_process
  SOURCES
    byte_size.cc
    grpc_front.cc
    health.cc
    http_endpoint.cc
    listen_address.cc
    logging.cc
    metric_factory.cc
    metrics.cc
    options.cc
    process_files.cc
    request_log.cc
    router.cc
    serve.cc
    served_model.cc
    signal_listener.cc
  PUBLIC
    drover::base
    drover::model_files
    drover::scheduler
    drover::server_api
    drover::tokenizer
    prometheus-cpp::core
    spdlog::spdlog
  PRIVATE
    civetweb::civetweb
    drover::shard_group
    gRPC::grpc++_reflection
    nlohmann_json::nlohmann_json)
