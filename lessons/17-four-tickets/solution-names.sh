#!/bin/sh
# What a learner does in the step "names".
exec kubectl -n kube-system scale deployment coredns --replicas=2
