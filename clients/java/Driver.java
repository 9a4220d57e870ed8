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
import banshi.client.BanshiClient.SendOptions;
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
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Timer;
import java.util.TimerTask;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

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
                    BanshiClient.TimedOut.class, "timed-out",
                    BanshiClient.Closed.class, "closed",
                    BanshiClient.UnknownEvent.class, "unknown-event");

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (BanshiClient client = client(System.getenv("BANSHI_URL"), System.getenv("BANSHI_CA"))) {
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

    private static BanshiClient client(String url, String authority) throws Exception {
        SSLContext trusted = authority == null ? null : trusting(Path.of(authority));
        return new BanshiClient(url, System.getenv("BANSHI_PREFIX"), Duration.ofSeconds(30), trusted);
    }

    private static SSLContext trusting(Path pem) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var in = Files.newInputStream(pem)) {
            Certificate certificate = CertificateFactory.getInstance("X.509").generateCertificate(in);
            trusted.setCertificateEntry("authority", certificate);
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        return context;
    }

    /** Interrupts this thread, after the seconds that are asked for. */
    private static void cancelled(JsonNode asked) {
        if (asked.has("cancel_after")) {
            Thread waiting = Thread.currentThread();
            TimerTask cancel =
                    new TimerTask() {
                        @Override
                        public void run() {
                            waiting.interrupt();
                        }
                    };
            new Timer(true).schedule(cancel, (long) (asked.path("cancel_after").asDouble() * 1000));
        }
    }

    private static JsonNode answer(BanshiClient client, JsonNode asked) throws Exception {
        cancelled(asked);
        Duration timeout = Duration.ofMillis((long) (asked.path("timeout").asDouble(30) * 1000));
        String job = asked.path("job").asText();
        String correlationId = asked.path("correlation_id").textValue();
        switch (asked.path("op").asText()) {
            case "send":
                Map<String, String> headers = new HashMap<>();
                asked.path("headers").fields().forEachRemaining(it -> headers.put(it.getKey(), it.getValue().asText()));
                client.send(
                        job,
                        SendOptions.DEFAULT
                                .lane(Lane.named(asked.path("lane").asText()))
                                .correlationId(correlationId)
                                .headers(headers)
                                .timeout(timeout));
                return JSON.valueToTree("confirmed");
            case "send_and_wait":
                return told(client.sendAndWait(job, SendOptions.DEFAULT.correlationId(correlationId), timeout));
            case "wait":
                return told(client.await(asked.path("job_id").asText(), start(asked.path("from")), correlationId, timeout));
            case "events":
                ArrayNode found = JSON.createArrayNode();
                try (Events events = client.events(start(asked.path("from")))) {
                    while (found.size() < asked.path("count").asInt()) {
                        Optional<Event> next = events.next(timeout);
                        if (next.isEmpty()) {
                            break;
                        }
                        Event event = next.get();
                        found.add(
                                told(event.outcome())
                                        .put("offset", event.offset())
                                        .put("id", event.id())
                                        .put("source", event.source())
                                        .put("type", event.type())
                                        .put("job_id", event.jobId()));
                    }
                }
                return found;
            case "outbox_put":
                new Outbox(Path.of(asked.path("folder").asText())).put(job, Lane.named(asked.path("lane").asText()));
                return JSON.valueToTree("kept");
            case "outbox_flush":
                return JSON.valueToTree(new Outbox(Path.of(asked.path("folder").asText())).flush(client, timeout));
            case "close":
                client.close();
                return JSON.valueToTree("closed");
            default:
                throw new IllegalArgumentException("no operation " + asked);
        }
    }

    private static Start start(JsonNode from) {
        return from.isNumber() ? Start.at(from.asLong()) : new Start(from.asText());
    }

    /** An outcome, in the names of its event's data. */
    private static ObjectNode told(Outcome outcome) {
        ObjectNode told = JSON.createObjectNode().put("event", outcome.event().id());
        ObjectNode data = told.putObject("data");
        if (outcome.event().jobId() != null) {
            data.put("job_id", outcome.event().jobId());
        }
        if (outcome instanceof Completed it) {
            told.put("outcome", "completed");
            data.put("template", it.template()).put("agency", it.agency()).put("year", it.year());
            data.put("title", it.title()).putObject("manifest").put("uri", it.manifestUri());
            data.putObject("artifact")
                    .put("uri", it.artifact().uri())
                    .put("media_type", it.artifact().mediaType())
                    .put("bytes", it.artifact().bytes())
                    .put("sha256", it.artifact().sha256())
                    .put("pages", it.artifact().pages())
                    .put("standard", it.artifact().standard());
            for (BanshiClient.Companion beside : it.companions()) {
                data.withArray("companions")
                        .addObject()
                        .put("format", beside.format())
                        .put("uri", beside.uri())
                        .put("media_type", beside.mediaType())
                        .put("sha256", beside.sha256())
                        .put("bytes", beside.bytes());
            }
            data.set("warnings", problems(it.warnings()));
        } else if (outcome instanceof Rejected it) {
            told.put("outcome", "rejected");
            data.set("problems", problems(it.problems()));
        } else if (outcome instanceof Failed it) {
            told.put("outcome", "failed");
            data.put("attempts", it.attempts());
            data.putObject("error").put("code", it.code()).put("message", it.message());
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
