#!/usr/bin/env bash
# Proves metrics, dashboards and alerts by the Prometheus nobody here wrote: it scrapes a running demo and answers what every
# panel and rule asks; promtool checks and tests the rules; amtool the example of an Alertmanager; TypeScript the dashboards
# against Grafana's own types.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages of npm are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run), those of
# Debian only with CI=true. One line per part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a
# failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"
dashboards=$root/dashboards
rules=$dashboards/prometheus
TESTS_SECONDS_MAX=300

has() { command -v "$1" >/dev/null; }
if [ "${CI:-}" = true ] && ! { has promtool && has prometheus && has amtool; }; then
  apt-get update -qq >"$work/apt.log" 2>&1 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >>"$work/apt.log" 2>&1 ||
    tail -n 3 "$work/apt.log"
fi

# Runs side by side: it waits for npm, the rest for the demo.
if has npm; then
  begin install_node grafana @grafana/schema@12.4.11 typescript@5.9.3
fi

tools() {
  if ! has promtool; then
    skip promtool "promtool not found (apt-get install prometheus)"
    return
  fi
  (cd "$rules" && promtool check config prometheus.yml && promtool check rules --lint=all --lint-fatal ./*.rules.yml) >"$work/check.log" 2>&1 ||
    { fail "promtool check"; cat "$work/check.log"; }
  local cases=0 failed_cases=0 file
  for file in "$rules"/tests/*.yml; do
    cases=$((cases + $(grep -c '^  - name: ' "$file")))
    (cd "$rules/tests" && timeout "$TESTS_SECONDS_MAX" promtool test rules "$(basename "$file")") >"$work/tests.log" 2>&1 ||
      { failed_cases=$((failed_cases + $(grep -c 'expr: ' "$work/tests.log"))); fail "promtool test rules"; cat "$work/tests.log"; }
  done
  echo "ran promtool: alerts=$(grep -c -- '- alert: ' "$rules/alerts.rules.yml") cases=$cases failed=$failed_cases"
  if has amtool; then
    amtool check-config "$dashboards/alertmanager.example.yml" >"$work/amtool.log" 2>&1 && echo "ran amtool" || { fail amtool; cat "$work/amtool.log"; }
  else
    skip amtool "amtool not found (apt-get install prometheus-alertmanager)"
  fi
}

scrape() {
  if ! has prometheus || ! has promtool || ! has python3 || ! has curl; then
    skip prometheus "prometheus, python3 or curl not found (apt-get install prometheus python3 curl)"
    return
  fi
  local prometheus metrics
  prometheus=http://127.0.0.1:$(free_port) metrics=$(free_port)
  # A quick machine tells the demo's story in a second: a scrape must fall before its end.
  sed -e 's/^  scrape_interval: .*/  scrape_interval: 250ms/; s/^  evaluation_interval: .*/  evaluation_interval: 2s/' \
    -e "s/127\.0\.0\.1:9187/127.0.0.1:$metrics/" "$rules/prometheus.yml" >"$work/prometheus.yml"
  cp "$rules"/*.rules.yml "$work/"
  double "$prometheus/-/ready" "$work/prometheus.log" prometheus --config.file "$work/prometheus.yml" \
    --storage.tsdb.path "$work/tsdb" --web.listen-address "${prometheus#http://}" || { fail prometheus; return; }
  # It finds its targets some seconds after it is ready; the story would be over by then.
  for _ in $(seq 1 200); do
    curl -sS "$prometheus/api/v1/query?query=up" 2>/dev/null | grep -q '"job":"bursar"' && break
    sleep 0.1
  done
  serve 'webhooks in' "$work/demo.log" "$bin" demo --data-dir "$work/data" --listen 127.0.0.1:0 --sandbox-listen 127.0.0.1:0 --metrics-listen "127.0.0.1:$metrics"
  for _ in $(seq 1 600); do
    grep -q 'It stays up' "$work/demo.log" && break
    sleep 0.1
  done
  env -u BURSAR_OUTSIDE_DIR "$bin" backup "$work/backup" --data-dir "$work/data" >"$work/backup.log" 2>&1 || { fail "a backup of the demo"; cat "$work/backup.log"; }
  curl -sS "http://127.0.0.1:$metrics/metrics" >"$work/metrics.txt"
  promtool check metrics <"$work/metrics.txt" >"$work/lint.log" 2>&1 || { fail "promtool check metrics"; cat "$work/lint.log"; }
  echo "ran metrics: series=$(grep -vc '^#' "$work/metrics.txt")"
  timeout $((2 * PART_SECONDS_MAX)) python3 "$here/drive.py" "$prometheus" "$dashboards" || fail "the queries of dashboards and rules"
}

types() {
  if [ ${#installers[@]} -eq 0 ]; then
    skip tsc "npm not found (apt-get install npm)"
    return
  fi
  wait "${installers[0]}"
  if [ ! -e "$dir/grafana/installed" ]; then
    skip tsc "not installed: $(tail -n 1 "$work/grafana.install.log")"
    return
  fi
  local out=$dir/grafana/typed
  rm -rf "$out" && mkdir -p "$out"
  node "$here/types.mjs" "$dashboards" "$out" >"$work/types.log" 2>&1 || { fail types.mjs; cat "$work/types.log"; return; }
  if timeout "$PART_SECONDS_MAX" "$dir/grafana/node_modules/.bin/tsc" -p "$out" >"$work/tsc.log" 2>&1; then
    echo "ran tsc: $(cat "$work/types.log") errors=0"
  else
    fail tsc
    cut -c1-300 "$work/tsc.log" | head -n 20
  fi
}

scrape
tools
types
exit "$failed"
