"""Holds deploy/kubernetes to Kubernetes' schemas, to itself, and to the
program's own flags."""

import copy
import os
import pathlib
import re
import subprocess
import unittest

import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(os.environ["DROVER_SOURCE_DIR"])
DROVER = os.environ["DROVER_PROGRAM"]
FOLDER = REPOSITORY / "deploy" / "kubernetes"
# The oldest and the newest Kubernetes that we say we run on.
KUBERNETES_VERSIONS = ("1.29", "1.37")


def load(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def validate(manifest):
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


KUSTOMIZATION = load("kustomization.yaml")
MANIFESTS = {name: load(name) for name in KUSTOMIZATION["resources"]}
DEPLOYMENT = MANIFESTS["deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]
FLAGS = dict(re.fullmatch(r"--([a-z-]+)=(.*)", arg).groups()
             for arg in CONTAINER["args"] if arg.startswith("--"))
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


class Schemas(unittest.TestCase):

    def test_accept_every_manifest(self):
        for name, manifest in MANIFESTS.items():
            with self.subTest(name):
                validate(manifest)

    def test_refuse_a_misspelt_field(self):
        broken = copy.deepcopy(DEPLOYMENT)
        broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 120
        with self.assertRaises(kubernetes_validate.ValidationError):
            validate(broken)

    def test_kustomization_names_every_file(self):
        files = {path.name for path in FOLDER.glob("*.yaml")}
        self.assertEqual(files - {"kustomization.yaml"}, set(MANIFESTS))


class Deployment(unittest.TestCase):

    def test_every_selector_matches_the_pods(self):
        labels = POD["metadata"]["labels"].items()
        for name, manifest in MANIFESTS.items():
            selector = manifest["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            self.assertTrue(selector.items() <= labels, name)

    def test_services_lead_to_ports_that_the_container_names(self):
        for name in ("service-grpc.yaml", "service-metrics.yaml"):
            for port in MANIFESTS[name]["spec"]["ports"]:
                self.assertEqual(port["port"], PORTS[port["targetPort"]], name)

    def test_the_flags_give_the_ports_that_the_container_names(self):
        self.assertEqual(FLAGS["grpc-port"], str(PORTS["grpc"]))
        self.assertEqual(FLAGS["port"], str(PORTS["http"]))

    def test_probes_ask_the_health_endpoints(self):
        for probe, path in (("startupProbe", "/health/ready"),
                            ("livenessProbe", "/health/live"),
                            ("readinessProbe", "/health/ready")):
            request = CONTAINER[probe]["httpGet"]
            self.assertEqual((path, "http"), (request["path"], request["port"]))

    def test_kubernetes_waits_longer_than_draining_may_take(self):
        self.assertGreater(POD["spec"]["terminationGracePeriodSeconds"],
                           int(FLAGS["max-drain-seconds"]))

    def test_runs_without_rights(self):
        self.assertTrue(POD["spec"]["securityContext"]["runAsNonRoot"])
        security = CONTAINER["securityContext"]
        self.assertTrue(security["readOnlyRootFilesystem"])
        self.assertFalse(security["allowPrivilegeEscalation"])
        self.assertEqual(["ALL"], security["capabilities"]["drop"])

    def test_has_limits(self):
        self.assertLessEqual({"cpu", "memory"},
                             set(CONTAINER["resources"]["limits"]))

    def test_uses_only_flags_that_drover_serve_has(self):
        help_text = subprocess.run([DROVER, "serve", "--help"], check=True,
                                   stdout=subprocess.PIPE, text=True).stdout
        known = set(re.findall(r"--([a-z][a-z-]*)", help_text))
        self.assertEqual(set(), set(FLAGS) - known)


class Image(unittest.TestCase):

    def test_is_the_one_that_the_dockerfile_says_it_builds(self):
        dockerfile = (REPOSITORY / "deploy" / "Dockerfile").read_text(
            encoding="utf-8")
        self.assertIn(f"-t {CONTAINER['image']} ", dockerfile)
        user = POD["spec"]["securityContext"]["runAsUser"]
        self.assertIn(f"\nUSER {user}:", dockerfile)

    def test_has_the_version_of_the_project(self):
        cmake = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
        version = re.search(r"project\(drover VERSION (\S+)", cmake).group(1)
        self.assertEqual(f"drover:{version}", CONTAINER["image"])


if __name__ == "__main__":
    unittest.main()
