#!/usr/bin/env node
// The same as cloudevents-read, by the CloudEvents SDK of Node, which takes a body with its content type as HTTP has it.
//
// Needs cloudevents (npm): target/tools/cloudevents-node.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { HTTP } = require(join(__dirname, "../../target/tools/cloudevents-node/node_modules/cloudevents"));

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { headers, content_type, body } = JSON.parse(line);
  const event = HTTP.toEvent({ headers: { ...headers, "content-type": content_type }, body });
  event.validate();
  const { data, ...attributes } = event.toJSON();
  console.log(JSON.stringify({ attributes, data }));
}
