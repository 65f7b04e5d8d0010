#!/usr/bin/env python3
"""Computes the hashes that hash_test.go expects, from the encoding's rules.

A record's hash is the first 8 bytes, big endian, of SHA-256 over: texts as an
8-byte length and their UTF-8 bytes; numbers as 8 bytes, both big endian;
booleans as a byte; an optional text as a boolean and, where there, the text; a
map as its size and its pairs sorted by key.

    python3 hash.py
"""

import hashlib
import struct


def number(n):
    return struct.pack(">q", n)


def text(s):
    b = s.encode()
    return number(len(b)) + b


def boolean(b):
    return b"\x01" if b else b"\x00"


def optional(s):
    return boolean(False) if s is None else boolean(True) + text(s)


def pairs(m):
    out = number(len(m))
    for k in sorted(m, key=str.encode):
        out += text(k) + text(m[k])
    return out


def digest(b):
    return hashlib.sha256(b).digest()[:8].hex()


OPTIONAL_TEXTS = (
    "appGroupName", "homePageUrl", "statusPageUrl", "healthCheckUrl",
    "secureHealthCheckUrl", "vipAddress", "secureVipAddress", "asgName",
)


def live(i, ldt, base):
    sid = i.get("sid", "")
    b = b"instance"
    b += optional(i.get("instanceId"))
    b += text(i["hostName"]) + text(i["app"]) + text(i["ipAddr"])
    b += text("" if sid in ("na", "unknown") else sid)
    for port, enabled in (i["port"], i["securePort"]):
        b += number(port) + boolean(enabled)
    b += number(i["countryId"])
    b += text(i["dataCenter"]) + pairs(i.get("dataCenterMetadata", {}))
    b += number(i["renewalInterval"]) + number(i["duration"])
    b += pairs(i.get("metadata", {}))
    for name in OPTIONAL_TEXTS:
        b += optional(i.get(name))
    return digest(b + number(ldt) + text(base))


def dead(ldt, duration_ms):
    return digest(b"tombstone" + number(ldt) + number(duration_ms))


def override(is_set, status):
    return digest(boolean(is_set) + text(status))


PLAIN = {
    "hostName": "host", "app": "ORDERS", "ipAddr": "10.0.0.1",
    "port": (7001, True), "securePort": (7002, False), "countryId": 1,
    "dataCenter": "MyOwn", "renewalInterval": 30, "duration": 90,
}

FULL = {
    "instanceId": "orders-1", "hostName": "host-ä.example", "app": "ORDERS", "ipAddr": "10.0.0.2", "sid": "s-1",
    "port": (8080, True), "securePort": (8443, True), "countryId": 49,
    "dataCenter": "Amazon", "dataCenterMetadata": {"instance-id": "i-0abc", "availability-zone": "eu-1a"},
    "renewalInterval": 5, "duration": 15,
    "metadata": {"zone": "1", "a": "", "Zone": "2", "é": "x", "z": "日本"},
    "appGroupName": "SHOP", "homePageUrl": "http://h/", "statusPageUrl": "http://h/info",
    "healthCheckUrl": "http://h/health", "secureHealthCheckUrl": "https://h/health",
    "vipAddress": "orders,orders-v2", "secureVipAddress": "orders", "asgName": "asg-7",
}

if __name__ == "__main__":
    print("plain         ", live(PLAIN, 1700000000000, "UP"))
    print("full          ", live(FULL, 1700000000123, "OUT_OF_SERVICE"))
    print("empty texts   ", live({**PLAIN, "instanceId": "", "vipAddress": "", "asgName": ""}, 0, "UNKNOWN"))
    print("before 1970   ", live({**PLAIN, "countryId": -1}, -1, "DOWN"))
    print("tombstone     ", dead(1700000000000, 90000))
    print("tombstone, old", dead(-5, 1500))
    print("override none ", override(False, ""))
    print("override unset", override(False, "UNKNOWN"))
    print("override UP   ", override(True, "UP"))
    print("override OOS  ", override(True, "OUT_OF_SERVICE"))
