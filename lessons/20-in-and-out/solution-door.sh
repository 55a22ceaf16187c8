#!/bin/sh
# What a learner does in the step "door": a certain address, and the source stays.
kubectl patch service shop --patch='{"spec":{"loadBalancerIP":"198.51.100.77","externalTrafficPolicy":"Local"}}'
until klab outside get http://198.51.100.77/ 2>/dev/null | grep -q "client *192.0.2.10"; do sleep 0.2; done
