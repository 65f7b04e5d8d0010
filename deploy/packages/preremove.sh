#!/bin/sh
# On removal, and not on an upgrade, the node is stopped.
set -e
case "$1" in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      systemctl --no-reload disable --now registryd.service || true
    fi
    ;;
esac
