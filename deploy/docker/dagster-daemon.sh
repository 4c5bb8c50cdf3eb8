#!/bin/bash
# The code server, whose children the runs are, and the daemon, which sees whether they are there: in one container, so
# that whoever ends first ends both, and the container is started again. Kept out: the page, which any machine may serve.
set -m # else what runs behind ignores SIGINT, and Dagster then ignores SIGTERM too
dagster code-server start --module-name kalshi_platform.definitions --host 0.0.0.0 --port 4266 &
for _ in $(seq 120); do
  dagster api grpc-health-check --port 4266 >/dev/null 2>&1 && break
  sleep 1
done
dagster-daemon run --workspace "${1:-/etc/kalshi/workspace.yaml}" &
# shellcheck disable=SC2046  # one word for each of them
trap 'kill -TERM $(jobs -p) 2>/dev/null' TERM INT
wait -n
# shellcheck disable=SC2046
kill -TERM $(jobs -p) 2>/dev/null
wait
exit 1
