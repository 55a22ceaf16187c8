#!/bin/sh
# What a learner does in the step "mend".
exec kubectl set image pod/typo app=klab.local/tools:1
