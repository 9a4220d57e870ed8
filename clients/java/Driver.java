import banshi.client.BanshiClient;
import banshi.client.BanshiClient.BanshiException;
import banshi.client.BanshiClient.Completed;
import banshi.client.BanshiClient.Event;
import banshi.client.BanshiClient.Events;
import banshi.client.BanshiClient.Failed;
import banshi.client.BanshiClient.Lane;
import banshi.client.BanshiClient.Outcome;
import banshi.client.BanshiClient.Problem;
import banshi.client.BanshiClient.Rejected;
import banshi.client.BanshiClient.Start;
import banshi.client.Outbox;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Timer;
import java.util.TimerTask;

/**
 * What the conformance suite speaks to: a request a line on standard input, an answer a line on standard
 * output (clients/conformance/README.md).
 */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<Class<?>, String> CODES =
            Map.of(
                    BanshiClient.InvalidJob.class, "invalid-job",
                    BanshiClient.NoSuchLane.class, "no-such-lane",
                    BanshiClient.QueueFull.class, "queue-full",
                    BanshiClient.NotConfirmed.class, "not-confirmed",
                    BanshiClient.BrokerRefused.class, "refused",
                    BanshiClient.TimedOut.class, "timed-out");

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String url = System.getenv("BANSHI_URL");
        try (BanshiClient client = new BanshiClient(url, System.getenv("BANSHI_PREFIX"), Duration.ofSeconds(30))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                ObjectNode said = JSON.createObjectNode();
                try {
                    said.set("ok", answer(client, JSON.readTree(line)));
                } catch (BanshiException error) {
                    said.put("error", CODES.get(error.getClass())).put("message", error.getMessage());
                } catch (InterruptedException error) {
                    said.put("error", "cancelled").put("message", "interrupted");
                }
                out.println(JSON.writeValueAsString(said));
            }
        }
    }

    private static JsonNode answer(BanshiClient client, JsonNode asked) throws Exception {
        Duration timeout = Duration.ofMillis((long) (asked.path("timeout").asDouble(30) * 1000));
        String job = asked.path("job").asText();
        switch (asked.path("op").asText()) {
            case "send":
                client.send(job, Lane.named(asked.path("lane").asText()), null, timeout);
                return JSON.valueToTree("confirmed");
            case "send_and_wait":
                if (asked.has("cancel_after")) {
                    Thread waiting = Thread.currentThread();
                    TimerTask cancel =
                            new TimerTask() {
                                @Override
                                public void run() {
                                    waiting.interrupt();
                                }
                            };
                    new Timer(true).schedule(cancel, asked.path("cancel_after").asLong() * 1000);
                }
                return told(client.sendAndWait(job, timeout));
            case "events":
                ArrayNode found = JSON.createArrayNode();
                try (Events events = client.events(start(asked.path("from")))) {
                    while (found.size() < asked.path("count").asInt()) {
                        Optional<Event> next = events.next(timeout);
                        if (next.isEmpty()) {
                            break;
                        }
                        Event event = next.get();
                        found.addObject()
                                .put("offset", event.offset())
                                .put("id", event.id())
                                .put("type", event.type())
                                .put("job_id", event.jobId());
                    }
                }
                return found;
            case "outbox_put":
                new Outbox(Path.of(asked.path("folder").asText())).put(job, Lane.named(asked.path("lane").asText()));
                return JSON.valueToTree("kept");
            case "outbox_flush":
                return JSON.valueToTree(new Outbox(Path.of(asked.path("folder").asText())).flush(client, timeout));
            default:
                throw new IllegalArgumentException("no operation " + asked);
        }
    }

    private static Start start(JsonNode from) {
        return from.isNumber() ? Start.at(from.asLong()) : new Start(from.asText());
    }

    private static ObjectNode told(Outcome outcome) {
        ObjectNode told = JSON.createObjectNode().put("event", outcome.event().id());
        if (outcome instanceof Completed it) {
            told.put("outcome", "completed").put("job_id", it.jobId());
            told.put("template", it.template()).put("title", it.title()).put("manifest", it.manifestUri());
            told.putObject("artifact")
                    .put("uri", it.artifact().uri())
                    .put("media_type", it.artifact().mediaType())
                    .put("bytes", it.artifact().bytes())
                    .put("sha256", it.artifact().sha256())
                    .put("pages", it.artifact().pages())
                    .put("standard", it.artifact().standard());
            told.set("warnings", problems(it.warnings()));
        } else if (outcome instanceof Rejected it) {
            told.put("outcome", "rejected").put("job_id", it.jobId()).set("problems", problems(it.problems()));
        } else if (outcome instanceof Failed it) {
            told.put("outcome", "failed").put("job_id", it.jobId());
            told.put("code", it.code()).put("message", it.message()).put("attempts", it.attempts());
        }
        return told;
    }

    private static ArrayNode problems(List<Problem> problems) {
        ArrayNode told = JSON.createArrayNode();
        for (Problem it : problems) {
            ObjectNode one = told.addObject();
            one.put("code", it.code()).put("path", it.path());
            one.put("message", it.message()).put("message_zh", it.messageZh());
            if (it.expected() != null) {
                one.put("expected", it.expected());
            }
            if (it.actual() != null) {
                one.put("actual", it.actual());
            }
        }
        return told;
    }
}
