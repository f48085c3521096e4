"""Holds deploy/kubernetes-hosts to Kubernetes' schemas, to itself, and to the
programs' own flags. The validator knows no LeaderWorkerSet: its two pod
templates are checked as Pods, and what surrounds them here."""

import os
import pathlib
import re
import subprocess
import unittest

import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(os.environ["DROVER_SOURCE_DIR"])
PROGRAMS = {
    "router": [os.environ["DROVER_PROGRAM"], "serve"],
    "shard": [os.environ["DROVER_SHARD_PROGRAM"]],
}
FOLDER = REPOSITORY / "deploy" / "kubernetes-hosts"
KUBERNETES_VERSIONS = ("1.29", "1.37")


def load(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def validate(manifest):
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def flags_of(container):
    """{flag: value} of its command line."""
    return dict(re.fullmatch(r"--([a-z-]+)=(.*)", arg).groups()
                for arg in container["args"] if arg.startswith("--"))


def ports_of(container):
    return {port["name"]: port["containerPort"] for port in container["ports"]}


MANIFESTS = {name: load(name) for name in load("kustomization.yaml")["resources"]}
SET = MANIFESTS["leader-worker-set.yaml"]
TEMPLATE = SET["spec"]["leaderWorkerTemplate"]
PODS = {"leader": TEMPLATE["leaderTemplate"], "worker": TEMPLATE["workerTemplate"]}
CONTAINERS = {(pod, container["name"]): container
              for pod, template in PODS.items()
              for container in template["spec"]["containers"]}
ROUTER = CONTAINERS["leader", "router"]


class Schemas(unittest.TestCase):

    def test_accept_what_kubernetes_has(self):
        for name in set(MANIFESTS) - {"leader-worker-set.yaml"}:
            with self.subTest(name):
                validate(MANIFESTS[name])

    def test_accept_the_pods_of_both_templates(self):
        for name, template in PODS.items():
            with self.subTest(name):
                metadata = {"name": name, **template["metadata"]}
                validate({"apiVersion": "v1", "kind": "Pod",
                          "metadata": metadata, "spec": template["spec"]})

    def test_kustomization_names_every_file(self):
        files = {path.name for path in FOLDER.glob("*.yaml")}
        self.assertEqual(files - {"kustomization.yaml"}, set(MANIFESTS))

    def test_the_set_has_the_fields_that_the_controller_knows(self):
        self.assertEqual("leaderworkerset.x-k8s.io/v1", SET["apiVersion"])
        self.assertEqual("LeaderWorkerSet", SET["kind"])
        self.assertEqual(
            {"replicas", "startupPolicy", "networkConfig",
             "leaderWorkerTemplate"}, set(SET["spec"]))
        self.assertEqual({"size", "restartPolicy", "leaderTemplate",
                          "workerTemplate"}, set(TEMPLATE))


class Group(unittest.TestCase):

    def test_is_made_anew_when_one_of_it_restarts(self):
        self.assertEqual("RecreateGroupOnPodRestart", TEMPLATE["restartPolicy"])

    def test_starts_its_ranks_while_the_router_is_not_ready(self):
        self.assertEqual("LeaderCreated", SET["spec"]["startupPolicy"])

    def test_has_a_rank_in_every_pod_and_one_router(self):
        self.assertEqual({("leader", "router"), ("leader", "shard"),
                          ("worker", "shard")}, set(CONTAINERS))
        self.assertEqual("$(LWS_GROUP_SIZE)", flags_of(ROUTER)["num-shard"])
        for pod in PODS:
            flags = flags_of(CONTAINERS[pod, "shard"])
            self.assertEqual("$(LWS_WORKER_INDEX)", flags["rank"])
            self.assertEqual("$(LWS_GROUP_SIZE)", flags["world-size"])

    def test_agrees_on_model_and_rendezvous(self):
        port = ports_of(ROUTER)["rendezvous"]
        router = flags_of(ROUTER)
        self.assertEqual(f"0.0.0.0:{port}", router["rendezvous"])
        for pod in PODS:
            flags = flags_of(CONTAINERS[pod, "shard"])
            self.assertEqual(f"$(LWS_LEADER_ADDRESS):{port}",
                             flags["rendezvous"])
            self.assertEqual(router["model"], flags["model"])

    def test_names_the_ports_that_its_flags_give(self):
        self.assertEqual(flags_of(ROUTER)["grpc-port"],
                         str(ports_of(ROUTER)["grpc"]))
        self.assertEqual(flags_of(ROUTER)["port"], str(ports_of(ROUTER)["http"]))
        for pod in PODS:
            shard = CONTAINERS[pod, "shard"]
            self.assertEqual(flags_of(shard)["group-port"],
                             str(ports_of(shard)["group"]))

    def test_services_and_policies_select_its_pods(self):
        service = MANIFESTS["service-grpc.yaml"]["spec"]
        labels = {pod: template["metadata"]["labels"].items()
                  for pod, template in PODS.items()}
        self.assertTrue(service["selector"].items() <= labels["leader"])
        self.assertFalse(service["selector"].items() <= labels["worker"])
        for port in service["ports"]:
            self.assertEqual(port["port"], ports_of(ROUTER)[port["targetPort"]])
        policy = MANIFESTS["network-policy.yaml"]["spec"]
        for selected in labels.values():
            self.assertTrue(
                policy["podSelector"]["matchLabels"].items() <= selected)
        inner, outer = ({port["port"] for port in rule["ports"]}
                        for rule in policy["ingress"])
        ports = {**ports_of(ROUTER), **ports_of(CONTAINERS["worker", "shard"])}
        self.assertEqual({ports["rendezvous"], ports["group"]}, inner)
        self.assertEqual({ports["grpc"], ports["http"]}, outer)

    def test_waits_longer_than_starting_and_draining_may_take(self):
        flags = flags_of(ROUTER)
        probe = ROUTER["startupProbe"]
        self.assertGreater(probe["periodSeconds"] * probe["failureThreshold"],
                           int(flags["shard-start-timeout-seconds"]))
        for template in PODS.values():
            self.assertGreater(
                template["spec"]["terminationGracePeriodSeconds"],
                int(flags["max-drain-seconds"]))


class Containers(unittest.TestCase):

    def test_use_only_flags_that_their_programs_have(self):
        for (pod, name), container in CONTAINERS.items():
            with self.subTest(f"{pod} {name}"):
                help_text = subprocess.run([*PROGRAMS[name], "--help"],
                                           check=True, text=True,
                                           stdout=subprocess.PIPE).stdout
                known = set(re.findall(r"--([a-z][a-z-]*)", help_text))
                self.assertEqual(set(), set(flags_of(container)) - known)

    def test_read_certificates_where_the_secret_is_mounted(self):
        keys = {"cert": "tls.crt", "key": "tls.key", "ca-cert": "ca.crt"}
        for (pod, name), container in CONTAINERS.items():
            with self.subTest(f"{pod} {name}"):
                (mount,) = container["volumeMounts"]
                (volume,) = PODS[pod]["spec"]["volumes"]
                self.assertEqual(mount["name"], volume["name"])
                self.assertEqual("drover-hosts-tls",
                                 volume["secret"]["secretName"])
                for flag, key in keys.items():
                    self.assertEqual(
                        f"{mount['mountPath']}/{key}",
                        flags_of(container)[f"rendezvous-tls-{flag}-path"])

    def test_run_without_rights_and_within_limits(self):
        for (pod, name), container in CONTAINERS.items():
            with self.subTest(f"{pod} {name}"):
                self.assertTrue(
                    PODS[pod]["spec"]["securityContext"]["runAsNonRoot"])
                security = container["securityContext"]
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertEqual(["ALL"], security["capabilities"]["drop"])
                self.assertLessEqual({"cpu", "memory"},
                                     set(container["resources"]["limits"]))

    def test_run_the_image_that_the_deployment_runs(self):
        deployment = yaml.safe_load(
            (REPOSITORY / "deploy" / "kubernetes" / "deployment.yaml").read_text(
                encoding="utf-8"))
        (only,) = deployment["spec"]["template"]["spec"]["containers"]
        for container in CONTAINERS.values():
            self.assertEqual(only["image"], container["image"])


class CertManager(unittest.TestCase):

    def test_makes_the_secret_with_the_leaders_names(self):
        text = (FOLDER / "cert-manager" / "certificates.yaml").read_text(
            encoding="utf-8")
        by_secret = {manifest["spec"].get("secretName"): manifest["spec"]
                     for manifest in yaml.safe_load_all(text)}
        spec = by_secret["drover-hosts-tls"]
        name = SET["metadata"]["name"]
        self.assertEqual([f"*.{name}.default"], spec["dnsNames"])
        self.assertLessEqual({"server auth", "client auth"},
                             set(spec["usages"]))
        self.assertNotIn("isCA", spec)


if __name__ == "__main__":
    unittest.main()
