"""Holds the tree to rules.py, and rules.py to small trees that break them."""

import os
import pathlib
import tempfile
import unittest

import rules

REPOSITORY = os.environ["DROVER_SOURCE_DIR"]


def violations_of(files):
    """What rules.py says about a tree of these files (name -> text)."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return rules.violations(root)


class TheTree(unittest.TestCase):

    def test_keeps_every_rule(self):
        found = rules.violations(REPOSITORY)
        self.assertEqual([], found, "\n" + "\n".join(found))

    def test_is_really_read(self):
        tree = rules.Tree(REPOSITORY)
        for folder in ("base", "scheduler", "model", "sharding", "server"):
            self.assertTrue(any(n.startswith(folder + "/")
                                for n in tree.texts), folder)


class TheRules(unittest.TestCase):

    def assert_one_violation(self, files, *fragments):
        found = violations_of(files)
        self.assertEqual(1, len(found), found)
        for fragment in fragments:
            self.assertIn(fragment, found[0])

    def test_accept_what_keeps_them(self):
        self.assertEqual([], violations_of({
            "base/clock.h": '#pragma once\n#include "absl/time/time.h"\n',
            "scheduler/plan.h": '#pragma once\n#include "base/clock.h"\n'
                                "#include <vector>\n",
            "model/forward.cc": "#include <ATen/core/Tensor.h>\n"
                                '#include "scheduler/plan.h"\n',
        }))

    def test_refuse_torch_in_the_scheduler(self):
        self.assert_one_violation(
            {"scheduler/plan.cc": "#include <ATen/core/Tensor.h>\n"},
            "scheduler/plan.cc reaches torch")

    def test_refuse_torch_that_comes_through_our_own_header(self):
        self.assert_one_violation({
            "model/tensors.h": "#pragma once\n#include <torch/types.h>\n",
            "server/main.cc": '#include "model/tensors.h"\n',
        }, "server/main.cc -> model/tensors.h -> torch/types.h")

    def test_refuse_an_arrow_from_the_scheduler_to_the_server(self):
        self.assert_one_violation({
            "server/options.h": "#pragma once\n",
            "scheduler/policy.cc": '#include "server/options.h"\n',
        }, "no arrow leads to server/")

    def test_refuse_grpc_and_generated_messages_in_the_model(self):
        self.assert_one_violation(
            {"model/a.cc": "#include <grpcpp/grpcpp.h>\n"}, "reaches rpc")
        found = violations_of(
            {"model/b.cc": '#include "proto/shard.pb.h"\n'})
        self.assertTrue(any("reaches rpc" in f for f in found), found)

    def test_refuse_torch_beside_protobuf_anywhere(self):
        self.assert_one_violation(
            {"tests/sharding/both_test.cc":
                 "#include <c10/core/Device.h>\n"
                 '#include "proto/shard.pb.h"\n'},
            "both torch and rpc")

    def test_refuse_sentencepiece_beside_abseil(self):
        self.assert_one_violation(
            {"model/tokenizer/t.cc":
                 "#include <sentencepiece_processor.h>\n"
                 '#include "absl/status/status.h"\n'},
            "both sentencepiece and absl")

    def test_refuse_torch_where_nvcc_compiles(self):
        self.assert_one_violation(
            {"model/k.cu": "#include <ATen/core/Tensor.h>\n"},
            "compiled by nvcc")

    def test_refuse_a_header_without_a_guard(self):
        self.assert_one_violation({"base/a.h": "int a();\n"},
                                  "lacks #pragma once")


if __name__ == "__main__":
    unittest.main()
