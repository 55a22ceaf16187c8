#!/bin/sh
# What a learner does in the step "publish": a new web, with a published port.
klab container rm web
klab container run -d --name web -p 8080:80 klab.local/tools:1 httpd :80
until klab container exec web wget -q -O /dev/null http://127.0.0.1/; do sleep 0.2; done
