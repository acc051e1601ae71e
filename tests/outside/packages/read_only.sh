#!/usr/bin/env bash
# In a mount namespace of its own (see run.sh): makes everything read-only but one folder at /data, then starts Bursar
# as the image does and asks it what the image's health check asks.
set -eu
bin=$1 work=$2
mkdir -p "$work/volume" "$work/bin"
chown 65532:65532 "$work/volume"
cp "$bin" "$work/bin/bursar"
mount --make-rprivate /
# A root that is as empty as the image's: the loader's libraries, certificates, and /data.
new=$work/image
mkdir -p "$new"
mount -t tmpfs tmpfs "$new"
for folder in usr etc/ssl proc dev data tmp; do mkdir -p "$new/$folder"; done
for link in lib lib64; do cp -P "/$link" "$new/$link"; done
mkdir -p "$new/usr/bin" "$new/usr/lib" "$new/usr/lib64"
cp "$work/bin/bursar" "$new/usr/bin/bursar"
for library in lib lib64; do mount --bind -o ro "/usr/$library" "$new/usr/$library"; done
mount --bind -o ro /etc/ssl "$new/etc/ssl"
mount --bind /dev "$new/dev"
mount --bind /proc "$new/proc"
mount --bind "$work/volume" "$new/data"
mount -o remount,ro "$new"
# Addresses of the image, but on ports that are free here.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
image=(BURSAR_LISTEN="0.0.0.0:$port" BURSAR_METRICS_LISTEN=127.0.0.1:0 BURSAR_STORE=sled:/data BURSAR_LOG_FORMAT=json)
secrets=(APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_packages_0123456789 STRIPE_API_BASE=http://127.0.0.1:9
  STRIPE_WEBHOOK_SECRET=whsec_packages_0123456789abcdefgh BURSAR_ADMIN_KEY=packages-operator-key-0123456789abcdef
  BURSAR_JWT_SECRET=packages-token-secret-0123456789abcdef)
enter=("$(command -v chroot)" --userspec=65532:65532 "$new" /usr/bin/bursar)
# What Kubernetes adds for a service of this name must not keep it from starting.
links=(BURSAR_SERVICE_HOST=10.0.0.1 BURSAR_SERVICE_PORT=80 BURSAR_PORT=tcp://10.0.0.1:80 BURSAR_PORT_80_TCP_ADDR=10.0.0.1)
serve() { exec env -i "${image[@]}" "${secrets[@]}" "${links[@]}" "${enter[@]}" serve; }
health() { env -i "${image[@]}" "${enter[@]}" doctor --quick >"$work/health" 2>&1; }
# Nothing runs yet: the health check says no.
if health; then echo "healthy without a process"; exit 1; fi
serve >"$work/image.log" 2>&1 &
pid=$!
trap 'kill -9 $pid 2>/dev/null || true' EXIT
for _ in $(seq 1 100); do
  health && break
  kill -0 $pid || { cat "$work/image.log"; exit 1; }
  sleep 0.2
done
health || { cat "$work/health" "$work/image.log"; exit 1; }
user=$(awk '/^Uid:/ {print $2}' "/proc/$pid/status")
[ "$user" = 65532 ] || { echo "it runs as $user"; exit 1; }
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code = 0 ] || { echo "exit $code"; cat "$work/image.log"; exit 1; }
if grep '"level":"ERROR"' "$work/image.log"; then exit 1; fi
echo "ran read-only root: user=$user healthy=yes drained_exit=$code writable=/data"
