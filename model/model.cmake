# What links LibTorch. `model_executor` is the one door at which its exceptions
# end.
drover_library(model
  SOURCES
    model_stub.cc
  PUBLIC
    drover::model_files
    drover::sampler
    drover::scheduler
  PRIVATE
    LibTorch::cpu)
