#!/bin/sh
# What a learner does about the ticket "stale".
exec klab proxy start node-1
