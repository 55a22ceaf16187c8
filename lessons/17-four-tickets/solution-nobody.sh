#!/bin/sh
# What a learner does in the step "nobody".
exec kubectl patch service web --type=json --patch='[{"op":"remove","path":"/spec/selector/tier"}]'
