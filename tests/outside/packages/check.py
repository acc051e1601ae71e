"""What no schema knows of packaging/: that its names are Bursar's own, and that its parts fit each other.

check.py ROOT BINARY WORK     WORK holds base.yaml and test-mode.yaml, as kustomize made them.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

root, binary, work = Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]).resolve()
packaging = root / "packaging"
wrong = []


def need(holds, words):
    if not holds:
        wrong.append(words)


# Names of the configuration, from where they are declared.
declared = re.findall(r'\b(text|integer|switch|list|secret)\(\s*[^,]+,\s*"([A-Z_]+)"[^\n]*', (root / "config/src/keys.rs").read_text())
names = {name for _, name in declared}
keys = (root / "config/src/keys.rs").read_text()
secrets = {n for kind, n in declared if kind == "secret"} | set(re.findall(r'"([A-Z_]+)"\)\s*\.secret_list', keys))
need(len(names) > 50 and len(secrets) > 8, f"only {len(names)} names and {len(secrets)} secrets were read")
routes = json.loads(subprocess.run([binary, "openapi"], capture_output=True, check=True, text=True).stdout)["paths"]


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text).group(1))


def overlay(name, namespace):
    made = [d for d in yaml.safe_load_all((work / f"{name}.yaml").read_text()) if d]
    of = {d["kind"]: d for d in made}
    for d in made:
        where = d["metadata"].get("namespace", d["metadata"]["name"])
        need(where == namespace, f"{name}: {d['kind']} is in {where}")
    spec = of["StatefulSet"]["spec"]
    pod = spec["template"]["spec"]
    box = pod["containers"][0]
    need(spec["replicas"] == 1, f"{name}: the store is opened once, not {spec['replicas']} times")
    need(pod.get("enableServiceLinks") is False, f"{name}: service links clutter the environment")
    need(pod.get("automountServiceAccountToken") is False, f"{name}: a token of the cluster is mounted")
    need(pod["securityContext"]["runAsUser"] == 65532, f"{name}: another user than the image's")
    need(box["securityContext"]["readOnlyRootFilesystem"] is True, f"{name}: the root can be written")
    need(pod["terminationGracePeriodSeconds"] > 25 + 5, f"{name}: the drain does not fit under the grace")
    for entry in box["env"]:
        need(entry["name"] in names, f"{name}: {entry['name']} is no variable of Bursar's")
        is_secret = entry["name"] in secrets
        need(is_secret == ("secretKeyRef" in entry.get("valueFrom", {})), f"{name}: {entry['name']} is a secret or is none")
    ports = {p["name"] for p in box["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = box[probe]["httpGet"]
        need(get["path"] in routes, f"{name}: {get['path']} is no path")
        need(get["port"] in ports, f"{name}: {get['port']} is no port")
    need(box["readinessProbe"]["httpGet"]["path"] == "/readyz", f"{name}: readiness asks something else")
    need(of["Service"]["spec"]["ports"][0]["targetPort"] in ports, f"{name}: the service leads nowhere")
    labels = spec["template"]["metadata"]["labels"]
    need(of["Service"]["spec"]["selector"].items() <= labels.items(), f"{name}: the service finds no pod")
    for kind in ("NetworkPolicy", "PodMonitor"):
        select = of[kind]["spec"]["podSelector" if kind == "NetworkPolicy" else "selector"]["matchLabels"]
        need(select.items() <= labels.items(), f"{name}: the {kind} finds no pod")
    allowed = {p["port"] for rule in of["NetworkPolicy"]["spec"]["ingress"] for p in rule["ports"]}
    need(allowed == ports, f"{name}: {allowed} may come in, {ports} listen")
    monitored = of["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    need(monitored["port"] in ports, f"{name}: the PodMonitor asks no port")
    given = {e["valueFrom"]["secretKeyRef"]["key"] for e in box["env"] if "valueFrom" in e}
    need(monitored["authorization"]["credentials"]["key"] in given, f"{name}: the PodMonitor has another token")
    mounted = {m["name"] for m in box["volumeMounts"]}
    volumes = {v["name"] for v in pod["volumes"]} | {c["metadata"]["name"] for c in spec["volumeClaimTemplates"]}
    need(mounted == volumes, f"{name}: {mounted} are mounted, {volumes} exist")
    config = of["ConfigMap"]
    need(pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"], f"{name}: the pod mounts another ConfigMap")
    # The binary itself reads what is in it, as the pod would.
    folder = work / f"etc-{name}"
    folder.mkdir()
    for file, text in config["data"].items():
        (folder / file).write_text(text.replace("/etc/bursar", str(folder)))
    env = {"BURSAR_STORE": f"sled:{work}/none", "BURSAR_LISTEN": "0.0.0.0:8087", "BURSAR_METRICS_LISTEN": "0.0.0.0:9187"}
    env |= {e["name"]: SECRETS.get(e["name"], "") for e in box["env"] if e["name"] in SECRETS}
    env |= PLANS
    said = subprocess.run([binary, "check-config", "--config", str(folder / "bursar.toml")], env=env, capture_output=True, text=True)
    need(said.returncode == 0, f"{name}: bursar.toml is refused: {said.stdout}{said.stderr}")
    return len(made)


SECRETS = {
    "STRIPE_API_KEY": "sk_test_packages_0123456789",
    "STRIPE_WEBHOOK_SECRET": "whsec_packages_0123456789abcdefgh",
    "BURSAR_ADMIN_KEY": "packages-operator-key-0123456789abcdef",
    "BURSAR_JWT_SECRET": "packages-token-secret-0123456789abcdef",
    "BURSAR_METRICS_TOKEN": "packages-metrics-token-0123456789",
}
PLANS = {name: "price_packages" for name in re.findall(r'stripe_price_id_env = "([A-Z_0-9]+)"', (root / "config/plans.toml").read_text())}

overlays = 0
if (work / "base.yaml").exists():
    overlays = overlay("base", "bursar") + overlay("test-mode", "bursar-test")

compose = yaml.safe_load((packaging / "compose/compose.yaml").read_text())
service = compose["services"]["bursar"]
for name in service["environment"]:
    is_secret = name.removesuffix("_FILE") in secrets
    need(name in names or is_secret, f"compose: {name} is no variable of Bursar's")
    need(not is_secret or name.endswith("_FILE"), f"compose: {name} is a secret in clear")
used = {Path(value).name for name, value in service["environment"].items() if name.endswith("_FILE") and value.startswith("/run/secrets/")}
need(used == set(service["secrets"]), f"compose: {used} are read, {service['secrets']} are mounted")
need(seconds(service["stop_grace_period"]) > 25, "compose: the drain does not fit under the grace")
need(service["read_only"] is True, "compose: the root can be written")
for other in compose["services"].values():
    for port in other.get("ports", []):
        need(port.startswith("127.0.0.1:"), f"compose: {port} is open to the network")
    need(set(other.get("secrets", [])) <= set(compose["secrets"]), "compose: a secret is not declared")
    for mount in other.get("volumes", []):
        source = mount.split(":")[0]
        made_later = source == "./plans.toml"
        there = source in compose["volumes"] or (packaging / "compose" / source).exists()
        need(there or made_later, f"compose: {source} does not exist")

unit = (packaging / "systemd/bursar@.service").read_text()
loaded = set(re.findall(r"^LoadCredential=(\w+):", unit, re.M))
for name, value in re.findall(r"^Environment=([A-Z_]+)=(\S+)$", unit, re.M):
    need(name in names or name.removesuffix("_FILE") in secrets, f"systemd: {name} is no variable of Bursar's")
    if name.endswith("_FILE"):
        need(value.removeprefix("%d/") in loaded, f"systemd: {value} is loaded by nothing")
need(int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M).group(1)) > 25, "systemd: the drain does not fit")

image = (packaging / "container/Containerfile").read_text()
for name in re.findall(r"\b(BURSAR_[A-Z_]+)=", image):
    need(name in names, f"image: {name} is no variable of Bursar's")
need(re.search(r"^USER 65532:65532$", image, re.M), "image: it runs as root")
health = json.loads(re.search(r"HEALTHCHECK .*CMD (\[.*\])", image).group(1))
need(os.path.basename(health[0]) == "bursar", "image: the health check needs another program")

for words in wrong:
    print(f"wrong: {words}")
print(f"ran rules: objects={overlays} variables_known={len(names)} wrong={len(wrong)}")
sys.exit(bool(wrong))
