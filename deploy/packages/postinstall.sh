#!/bin/sh
# The unit is neither enabled nor started: a node needs its settings first.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
