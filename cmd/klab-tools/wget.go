package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// repeated is a flag that may be given several times: parse keeps only the
// last value, so wget's headers are collected first.
func repeated(name string, args []string) (values, rest []string) {
	for i := 0; i < len(args); i++ {
		value, joined := strings.CutPrefix(args[i], name+"=")
		switch {
		case joined:
			values = append(values, value)
		case args[i] == name && i+1 < len(args):
			values, i = append(values, args[i+1]), i+1
		default:
			rest = append(rest, args[i])
		}
	}
	return values, rest
}

// wget writes a page to standard output, or with -O to a file. An answer of
// 400 or more ends with 8 as GNU wget does, an unreachable server with 4.
func wget(c *call) int {
	headers, args := repeated("--header", c.args)
	o, rest, err := parse("q S O= T= timeout= post-data= method= no-check-certificate ca-certificate= spider", args)
	if err != nil {
		return c.usage(err.Error())
	}
	if len(rest) != 1 {
		return c.usage("one address")
	}
	client, err := webClient(o)
	if err != nil {
		return c.failf("%v", err)
	}
	req, err := webRequest(o, headers, rest[0])
	if err != nil {
		return c.usage(err.Error())
	}
	resp, err := client.Do(req)
	if err != nil {
		c.failf("%v", err)
		return 4
	}
	defer resp.Body.Close()
	if o.has("S") {
		fmt.Fprintf(c.err, "  %s %s\n", resp.Proto, resp.Status)
		resp.Header.Write(c.err)
	}
	out := c.out
	if name := o["O"]; name != "" && name != "-" {
		f, err := os.Create(name)
		if err != nil {
			return c.failf("%v", err)
		}
		defer f.Close()
		out = f
	}
	if !o.has("spider") {
		if _, err := io.Copy(out, resp.Body); err != nil {
			c.failf("%v", err)
			return 4
		}
	}
	if resp.StatusCode >= 400 {
		c.failf("server answered %s", resp.Status)
		return 8
	}
	return 0
}

func webClient(o options) (*http.Client, error) {
	timeout := 10 * time.Second
	for _, name := range []string{"T", "timeout"} {
		if o.has(name) {
			d, err := duration(o[name])
			if err != nil {
				return nil, err
			}
			timeout = d
		}
	}
	config := &tls.Config{InsecureSkipVerify: o.has("no-check-certificate")}
	if file := o["ca-certificate"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", file)
		}
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true,
	}}, nil
}

func webRequest(o options, headers []string, url string) (*http.Request, error) {
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	method, body := http.MethodGet, io.Reader(nil)
	if o.has("post-data") {
		method, body = http.MethodPost, strings.NewReader(o["post-data"])
	}
	if o.has("method") {
		method = o["method"]
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "wget")
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("header %q has no colon", h)
		}
		if strings.EqualFold(name, "Host") {
			req.Host = strings.TrimSpace(value)
		}
		req.Header.Set(name, strings.TrimSpace(value))
	}
	return req, nil
}
