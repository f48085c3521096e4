# shellcheck shell=bash disable=SC2154 # grpc_port and others are serving.sh's
# Sourced by bench.sh: the case 8b-idle. How long does the device idle between
# the last kernel of a step and the first of the next, while 256 sequences run
# whose sampling is as much work as can be asked for?

run_idle() {
  local trace="$BENCH_DIR/8b-idle.trace" files
  rm -f "$trace".*
  CUDA_INJECTION64_PATH="$GPU_DIR/bin/libkernel_trace.so" \
    DROVER_TRACE="$trace" start_case --load-format=dummy \
    --model-config=llama-3.1-8b --max-batch-size=256 \
    --max-sequence-length=1024 --max-new-tokens=1024 \
    --max-concurrent-requests=4096
  stage "$1: 256 streams with full sampling" \
    "$GPU_DIR/bin/drover" bench throughput --streams=256 --num-requests=256 \
    --warmup=0 --input-len=64 --output-len=768 --full-sampling \
    --address="127.0.0.1:$grpc_port" --json="$BENCH_DIR/$1.json"
  save_metrics "$1"
  stop_server # which writes the trace
  files=("$trace".*)
  [[ ${#files[@]} == 1 && -s ${files[0]} ]] ||
    die "$1: expected the trace of one shard, got: ${files[*]}"
  # Steps that decode only: of all kernels the last half.
  outer_python bench/kernel_trace_report.py "${files[0]}" \
    "$(($(wc -l <"${files[0]}") / 2))" | sed -n 1,3p
  rm "${files[0]}"
}
