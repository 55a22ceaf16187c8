#!/bin/sh
# What a learner does in the step "door": give the probe what it looks for.
kubectl exec shy -- sh -c 'echo yes > /tmp/ready'
