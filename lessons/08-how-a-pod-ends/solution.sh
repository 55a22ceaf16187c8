#!/bin/sh
# What a learner does in the step "time".
kubectl patch deployment kiosk --patch '{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 15}}}}'
kubectl rollout status deployment/kiosk --timeout=60s
kubectl delete pod --selector app=kiosk --wait=false
