#!/bin/sh
# What a learner does in the step "patience".
exec kubectl patch deployment slow --patch '{"spec": {"template": {"spec": {"containers": [{"name": "app", "startupProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 60}}]}}}}'
