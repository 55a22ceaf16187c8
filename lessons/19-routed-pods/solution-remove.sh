#!/bin/sh
# What a learner does in the step "remove": the stranger's route goes.
exec klab node exec node-1 ip route del blackhole 10.244.2.0/25
