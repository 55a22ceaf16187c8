#!/bin/sh
# What a learner does in the step "stale".
exec klab proxy start node-1
