#!/bin/sh
# What a learner does in the step "reach": db on the same switch as app.
klab container rm db
klab container run -d --name db --network overlay klab.local/tools:1 httpd :5432
until klab container exec db wget -q -O /dev/null http://127.0.0.1:5432/; do sleep 0.2; done
