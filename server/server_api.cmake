add_library(drover_server_api INTERFACE)
add_library(drover::server_api ALIAS drover_server_api)
target_link_libraries(drover_server_api INTERFACE
  drover::base
  drover::generation_proto
  drover::scheduler
  drover::tokenizer)
