#!/bin/sh
# What a learner does in the step "found".
klab node start node-3
