#!/bin/sh
# What a learner does in the step "open": the Service selects the controller's Pod.
kubectl -n kube-system patch service ingress-controller --patch='{"spec":{"selector":{"app":"ingress-controller"}}}'
until klab outside get http://198.51.100.1/ >/dev/null 2>&1; do sleep 0.2; done
