# drover::server_process  everything of the process but main: options, logs,
#                         metrics, health, HTTP, start and end
# drover::client          generate, tokenize, info; bench is a folder of its own
# drover                  the program
find_package(civetweb CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)

drover_library(server_process
  SOURCES
    byte_size.cc
    grpc_front.cc
    health.cc
    http_endpoint.cc
    hub_cache.cc
    listen_address.cc
    logging.cc
    metric_factory.cc
    metrics.cc
    options.cc
    process_files.cc
    request_log.cc
    router.cc
    server_info_service.cc
    serve.cc
    served_model.cc
    signal_listener.cc
    tls.cc
  PUBLIC
    drover::base
    drover::model_files
    drover::scheduler
    drover::server_api
    drover::server_info_proto
    drover::tokenizer
    prometheus-cpp::core
    spdlog::spdlog
  PRIVATE
    civetweb::civetweb
    drover::partition
    drover::shard_group
    gRPC::grpc++_reflection
    nlohmann_json::nlohmann_json
    OpenSSL::SSL)

drover_library(client
  SOURCES
    client/connection.cc
    client/download_weights_command.cc
    client/generate_command.cc
    client/info_command.cc
    client/tls_flags.cc
    client/tokenize_command.cc
  PUBLIC
    drover::base
    drover::generation_proto
    drover::model_files
  PRIVATE
    CLI11::CLI11
    drover::health_proto
    drover::server_process)

drover_library(command_line
  SOURCES
    command_line.cc
    environment_name.cc
    foreign_options.cc
    launcher_flags.cc
    serve_flags.cc
  PUBLIC
    drover::bench_client
    drover::server_process
  PRIVATE
    CLI11::CLI11)

add_executable(drover main.cc)
target_link_libraries(drover PRIVATE
  drover_compile_options
  drover::bench_client
  drover::client
  drover::command_line)
