#!/bin/sh
# What a learner does about the ticket "names".
exec kubectl -n kube-system scale deployment coredns --replicas=2
