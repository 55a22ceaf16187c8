#!/bin/sh
# What a learner does in the step "four": four Pods, and a Service that selects them.
kubectl scale deployment web --replicas=4
kubectl patch service web --patch='{"spec":{"selector":{"app":"web"}}}'
until klab node exec node-1 nft list table ip kube-proxy | grep 'mod 4'; do sleep 0.2; done
