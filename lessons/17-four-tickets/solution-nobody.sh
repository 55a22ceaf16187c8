#!/bin/sh
# What a learner does about the ticket "nobody".
exec kubectl patch service web --type=json --patch='[{"op":"remove","path":"/spec/selector/tier"}]'
