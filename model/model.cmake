# What links LibTorch. `model_executor` is the one door at which its exceptions
# end; its header is free of LibTorch.
drover_library(model
  SOURCES
    batch_tensors.cc
    executor_plan.cc
    kv_cache.cc
    layers/attention.cc
    layers/linear.cc
    layers/mlp.cc
    layers/rms_norm.cc
    layers/rope_frequencies.cc
    layers/rotary_embedding.cc
    llama.cc
    model_executor.cc
    slot_table.cc
    step_runner.cc
    weight_source.cc
    weights.cc
  PUBLIC
    drover::collective
    drover::model_files
    drover::partition
    drover::sampler
    drover::scheduler
  PRIVATE
    drover::kernels
    LibTorch::cpu)
