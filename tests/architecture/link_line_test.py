"""What the built programs load: the router no LibTorch, the shard all of it."""

import os
import re
import subprocess
import unittest

DROVER = os.environ["DROVER_PROGRAM"]
SHARD = os.environ.get("DROVER_SHARD_PROGRAM", "")
TENSOR_RUNTIME = re.compile(
    r"lib(torch|c10|cudart|cupti|cublas|gomp|mkl|dnnl)[^/]*\.so")
# Mangled names in the namespaces at, c10 and torch.
TENSOR_SYMBOL = re.compile(r"\b_ZN?K?(2at|3c10|5torch)[0-9]")
# Debian's shared sentencepiece aborts beside gRPC; ours is static.
SHARED_SENTENCEPIECE = re.compile(r"libsentencepiece[^/]*\.so")


def output_of(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def loaded_libraries(program):
    """Every shared library that the loader maps for `program`."""
    return re.findall(r"^\s*(\S+)", output_of("ldd", program), re.MULTILINE)


def matching(pattern, names):
    return [name for name in names if pattern.search(name)]


class Router(unittest.TestCase):

    def test_loads_no_tensor_runtime(self):
        self.assertEqual([], matching(TENSOR_RUNTIME,
                                      loaded_libraries(DROVER)))

    def test_has_no_symbol_of_libtorch(self):
        symbols = output_of("nm", "--dynamic", DROVER).splitlines()
        self.assertEqual([], matching(TENSOR_SYMBOL, symbols))

    def test_links_sentencepiece_statically(self):
        self.assertEqual([], matching(SHARED_SENTENCEPIECE,
                                      loaded_libraries(DROVER)))


@unittest.skipUnless(SHARD, "this build has no drover-shard")
class Shard(unittest.TestCase):
    """Also proves that the patterns above find what they look for."""

    def test_loads_libtorch(self):
        libraries = matching(TENSOR_RUNTIME, loaded_libraries(SHARD))
        self.assertIn("libtorch_cpu.so", libraries)
        self.assertIn("libc10.so", libraries)

    def test_has_symbols_of_libtorch(self):
        symbols = output_of("nm", "--dynamic", SHARD).splitlines()
        self.assertNotEqual([], matching(TENSOR_SYMBOL, symbols))

    def test_finds_every_library_it_needs(self):
        self.assertNotIn("not found", output_of("ldd", SHARD))


if __name__ == "__main__":
    unittest.main()
