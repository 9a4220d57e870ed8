package banshi.client;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Address;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.ListAddressResolver;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.net.Socket;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Sends report jobs to banshi over RabbitMQ, and says what became of them.
 *
 * <p>Takes jobs as JSON. Gives confirmations, typed results and events. Never drops a job silently: a
 * call that returns was confirmed, any other throws. If we crash here, a job that was not confirmed may
 * or may not be there: send it again, with the same {@code job_id}, which is harmless; {@link Outbox}
 * keeps it until then.
 *
 * <p>For any number of threads; it connects when it first needs to. A thread that waits is cancelled by
 * {@link Thread#interrupt()}, within ten seconds while a connection is made; a job that was confirmed is
 * still worked on.
 */
public final class BanshiClient implements AutoCloseable {
    /** Where a job waits. */
    public enum Lane {
        BULK,
        URGENT;

        /** The lane of this name, in small letters. */
        public static Lane named(String name) throws NoSuchLane {
            for (Lane lane : values()) {
                if (lane.key().equals(name)) {
                    return lane;
                }
            }
            throw new NoSuchLane("there is no lane \"" + name + "\"; there are bulk and urgent");
        }

        /** Its routing key. */
        public String key() {
            return this == BULK ? "bulk" : "urgent";
        }
    }

    /**
     * How a job is sent. Begin with {@link #DEFAULT}: {@code SendOptions.DEFAULT.lane(Lane.URGENT)}.
     *
     * @param correlationId yours, 255 bytes at most; it comes back on the event. Null or empty: none
     * @param headers of the message, as {@code traceparent} and {@code tracestate}
     * @param timeout to send it and have it confirmed. Null: the client's
     */
    public record SendOptions(Lane lane, String correlationId, Map<String, String> headers, Duration timeout) {
        /** By the lane {@code bulk}, and nothing more. */
        public static final SendOptions DEFAULT = new SendOptions(Lane.BULK, null, Map.of(), null);

        public SendOptions {
            Objects.requireNonNull(lane);
            correlationId = nothing(correlationId) ? null : correlationId;
            headers = Map.copyOf(headers);
        }

        public SendOptions lane(Lane lane) {
            return new SendOptions(lane, correlationId, headers, timeout);
        }

        public SendOptions correlationId(String correlationId) {
            return new SendOptions(lane, correlationId, headers, timeout);
        }

        public SendOptions headers(Map<String, String> headers) {
            return new SendOptions(lane, correlationId, headers, timeout);
        }

        public SendOptions timeout(Duration timeout) {
            return new SendOptions(lane, correlationId, headers, timeout);
        }
    }

    /**
     * What is wrong (docs/problems.md).
     *
     * @param path a JSON Pointer (RFC 6901) into the job
     * @param expected may be null, as {@code actual}
     */
    public record Problem(
            String code, String path, String message, String messageZh, String expected, String actual) {}

    /**
     * The PDF that was stored.
     *
     * @param bytes its size
     * @param sha256 compare it with what you fetch
     */
    public record Artifact(String uri, String mediaType, long bytes, String sha256, int pages, String standard) {}

    /** The same report in another format, beside its PDF, where banshi is set to make some. */
    public record Companion(String format, String uri, String mediaType, String sha256, long bytes) {}

    /** What became of a job. */
    public sealed interface Outcome permits Completed, Rejected, Failed {
        /** The event that said so. */
        Event event();
    }

    /** The PDF and its manifest are stored. */
    public record Completed(
            String jobId,
            String template,
            String agency,
            int year,
            String title,
            Artifact artifact,
            List<Companion> companions,
            String manifestUri,
            List<Problem> warnings,
            Event event)
            implements Outcome {}

    /** The job can never succeed as it is. {@code jobId} is null when it could not be read. */
    public record Rejected(String jobId, List<Problem> problems, Event event) implements Outcome {}

    /** The job might have succeeded; {@code code} is the part that failed. It may be sent again. */
    public record Failed(String jobId, String code, String message, int attempts, Event event) implements Outcome {}

    /**
     * A CloudEvent of banshi.
     *
     * @param jobId null when it could not be read
     * @param offset its place in the log
     * @param body all of it
     */
    public record Event(
            String id, String source, String type, Instant time, String jobId, long offset, JsonNode body) {
        /** What became of the job. */
        public Outcome outcome() throws UnknownEvent {
            JsonNode data = body.path("data");
            if (!data.isObject()) {
                throw new UnknownEvent("event " + id + " has no data", null);
            }
            switch (type) {
                case "report.completed":
                    JsonNode it = data.path("artifact");
                    Artifact artifact =
                            new Artifact(
                                    it.path("uri").asText(),
                                    it.path("media_type").asText(),
                                    it.path("bytes").asLong(),
                                    it.path("sha256").asText(),
                                    it.path("pages").asInt(),
                                    it.path("standard").asText());
                    List<Companion> companions = new ArrayList<>();
                    for (JsonNode beside : data.path("companions")) {
                        companions.add(
                                new Companion(
                                        beside.path("format").asText(),
                                        beside.path("uri").asText(),
                                        beside.path("media_type").asText(),
                                        beside.path("sha256").asText(),
                                        beside.path("bytes").asLong()));
                    }
                    return new Completed(
                            jobId,
                            data.path("template").asText(),
                            data.path("agency").asText(),
                            data.path("year").asInt(),
                            data.path("title").asText(),
                            artifact,
                            Collections.unmodifiableList(companions),
                            data.path("manifest").path("uri").asText(),
                            problems(data.path("warnings")),
                            this);
                case "report.rejected":
                    return new Rejected(jobId, problems(data.path("problems")), this);
                case "report.failed":
                    JsonNode error = data.path("error");
                    return new Failed(
                            jobId,
                            error.path("code").asText(),
                            error.path("message").asText(),
                            data.path("attempts").asInt(),
                            this);
                default:
                    throw new UnknownEvent("event " + id + " is a " + type + ", which this version does not know", null);
            }
        }

        private static List<Problem> problems(JsonNode array) {
            List<Problem> problems = new ArrayList<>();
            for (JsonNode it : array) {
                problems.add(
                        new Problem(
                                it.path("code").asText(),
                                it.path("path").asText(),
                                it.path("message").asText(),
                                it.path("message_zh").asText(),
                                it.path("expected").textValue(),
                                it.path("actual").textValue()));
            }
            return List.copyOf(problems);
        }
    }

    /** Whatever this library throws. */
    public abstract static class BanshiException extends Exception {
        private static final long serialVersionUID = 1;

        BanshiException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** Not a JSON object with a {@code job_id}, or its correlation id is too long: nothing was sent. */
    public static final class InvalidJob extends BanshiException {
        private static final long serialVersionUID = 1;

        InvalidJob(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** No queue takes this lane: it is misspelt, or banshi's queues are not there. Nothing is kept. */
    public static final class NoSuchLane extends BanshiException {
        private static final long serialVersionUID = 1;

        NoSuchLane(String message) {
            super(message, null);
        }
    }

    /** The broker refused the job, for its lane is full: wait, and send it again. */
    public static final class QueueFull extends BanshiException {
        private static final long serialVersionUID = 1;

        QueueFull(String message) {
            super(message, null);
        }
    }

    /** No confirmation in time. The job may or may not be there: send it again, as it is. */
    public static final class NotConfirmed extends BanshiException {
        private static final long serialVersionUID = 1;

        NotConfirmed(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /**
     * The broker says that we may not, or that something is not there, or we do not trust its certificate;
     * trying again won't help.
     */
    public static final class BrokerRefused extends BanshiException {
        private static final long serialVersionUID = 1;

        BrokerRefused(Throwable cause) {
            super("the broker refuses: " + said(cause), cause);
        }

        BrokerRefused(String message) {
            super(message, null);
        }

        private static String said(Throwable cause) {
            return cause.getMessage() == null && cause.getCause() != null
                    ? cause.getCause().getMessage()
                    : cause.getMessage();
        }
    }

    /** The job was confirmed, and what became of it was not known in time. */
    public static final class TimedOut extends BanshiException {
        private static final long serialVersionUID = 1;

        TimedOut(String message) {
            super(message, null);
        }
    }

    /** The client was closed before: nothing was sent. */
    public static final class Closed extends BanshiException {
        private static final long serialVersionUID = 1;

        Closed(String message) {
            super(message, null);
        }
    }

    /** The log has what this version does not know. */
    public static final class UnknownEvent extends BanshiException {
        private static final long serialVersionUID = 1;

        UnknownEvent(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** Where in the log of thirty days to begin. */
    public record Start(Object offset) {
        public static final Start FIRST = new Start("first");
        public static final Start LAST = new Start("last");
        /** Only new ones. */
        public static final Start NEXT = new Start("next");

        public static Start at(long offset) {
            return new Start(offset);
        }

        public static Start at(Instant time) {
            return new Start(Date.from(time));
        }
    }

    private static final Logger LOG = LoggerFactory.getLogger(BanshiClient.class);
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Pattern JOB_ID = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}");

    private final ConnectionFactory factory = new ConnectionFactory();
    private final String prefix;
    private final Duration timeout;
    /** One job is on its way at a time: a return does not say whose it is. */
    private final ReentrantLock turn = new ReentrantLock(true);

    private Sender sender;
    private volatile boolean closed;

    /** To the broker's URL, with the prefix {@code banshi} and thirty seconds for a job's confirmation. */
    public BanshiClient(String url) {
        this(url, "banshi", Duration.ofSeconds(30));
    }

    /**
     * To the broker's URL; behind {@code amqps://}, the JVM's authorities are trusted.
     *
     * @param prefix of the names at the broker, the operator's to change
     * @param timeout how long a call may take to send a job and have it confirmed
     */
    public BanshiClient(String url, String prefix, Duration timeout) {
        this(url, prefix, timeout, null);
    }

    /**
     * The same.
     *
     * @param trusted whom to trust behind {@code amqps://}, and who we are; null: the JVM's authorities
     */
    public BanshiClient(String url, String prefix, Duration timeout, SSLContext trusted) {
        factory.setRequestedHeartbeat(10); // where the URL has none
        try {
            if (url.startsWith("amqps:")) { // by itself it would trust whatever certificate it is shown, for any host
                factory.setPort(ConnectionFactory.DEFAULT_AMQP_OVER_SSL_PORT);
                factory.useSslProtocol(trusted == null ? SSLContext.getDefault() : trusted);
                factory.setSocketConfigurator(BanshiClient::configure);
            }
            factory.setUri(url.replaceFirst("^amqps:", "amqp:"));
        } catch (URISyntaxException | GeneralSecurityException error) {
            throw new IllegalArgumentException("the broker's URL: " + error.getMessage(), error);
        }
        factory.setAutomaticRecoveryEnabled(false); // a recovered channel forgets what was not confirmed
        this.prefix = prefix;
        this.timeout = timeout;
    }

    private static void configure(Socket socket) throws IOException {
        socket.setTcpNoDelay(true);
        if (socket instanceof SSLSocket secure) {
            SSLParameters parameters = secure.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            secure.setSSLParameters(parameters);
        }
    }

    /**
     * Ends the connection. All that was sent is confirmed already. A client that is closed connects no more:
     * what needs a connection then throws {@link Closed}.
     */
    @Override
    public void close() {
        turn.lock();
        try {
            closed = true;
            drop();
        } finally {
            turn.unlock();
        }
    }

    /** Sends a job by the lane {@code bulk}. */
    public void send(String job) throws BanshiException, InterruptedException {
        send(job, SendOptions.DEFAULT);
    }

    /**
     * Sends a job; it returns once the broker has it safe. A connection that is lost before that is made
     * anew and the job is sent again.
     */
    public void send(String job, SendOptions options) throws BanshiException, InterruptedException {
        String jobId = jobId(job, options);
        Deadline deadline = new Deadline(options.timeout() == null ? timeout : options.timeout());
        if (!turn.tryLock(deadline.left().toNanos(), TimeUnit.NANOSECONDS)) {
            throw new NotConfirmed("job " + jobId + " was not sent: other threads' jobs took all the time", null);
        }
        try {
            if (closed) {
                throw new Closed("job " + jobId + " was not sent: the client is closed");
            }
            send(jobId, job.getBytes(StandardCharsets.UTF_8), options, deadline);
        } finally {
            turn.unlock();
        }
    }

    private void send(String jobId, byte[] body, SendOptions options, Deadline deadline)
            throws BanshiException, InterruptedException {
        AMQP.BasicProperties properties =
                new AMQP.BasicProperties.Builder()
                        .contentType("application/json")
                        .deliveryMode(2)
                        .messageId(jobId)
                        .correlationId(options.correlationId())
                        .headers(Map.copyOf(options.headers()))
                        .build();
        for (Pause pause = new Pause(); ; ) {
            Exception last;
            try {
                if (sender == null) {
                    sender = new Sender(connect(factory, deadline));
                }
                sender.publish(prefix + ".jobs", options.lane(), body, properties, deadline);
                LOG.debug("job {} is confirmed in lane {}", jobId, options.lane().key());
                return;
            } catch (QueueFull | NoSuchLane error) { // the connection is as good as before
                throw error;
            } catch (InterruptedException | BanshiException error) {
                drop(); // a confirmation that comes late must not be taken for the next job's
                throw error;
            } catch (TimeoutException error) {
                drop();
                throw notConfirmed(jobId, error);
            } catch (IOException | ShutdownSignalException error) {
                drop();
                last = error;
                throwIfRefused(error);
            } catch (RuntimeException error) { // the channel awaits the confirmation of what never went out
                drop();
                throw error;
            }
            LOG.warn("job {} is not confirmed yet, sending it again: {}", jobId, last.toString());
            if (!pause.rest(deadline)) {
                throw notConfirmed(jobId, last);
            }
        }
    }

    private static NotConfirmed notConfirmed(String jobId, Exception cause) {
        return new NotConfirmed("job " + jobId + ": no confirmation in time; send it again", cause);
    }

    /** Sends a job by the lane {@code bulk} and waits for what becomes of it. */
    public Outcome sendAndWait(String job, Duration timeout) throws BanshiException, InterruptedException {
        return sendAndWait(job, SendOptions.DEFAULT, timeout);
    }

    /**
     * Sends a job and waits for its event in the log of events, over lost connections too.
     *
     * @param options whose correlation id, by which the event is known, must be of this job alone; it is made
     *     here where there is none
     * @param timeout for all of it
     */
    public Outcome sendAndWait(String job, SendOptions options, Duration timeout)
            throws BanshiException, InterruptedException {
        String jobId = jobId(job, options);
        String correlationId =
                options.correlationId() == null ? UUID.randomUUID().toString() : options.correlationId();
        Duration sending = options.timeout() == null ? this.timeout : options.timeout();
        Deadline deadline = new Deadline(timeout);
        try (Events events = events(Start.LAST)) {
            if (!events.attach(deadline)) { // before the job is there: its event can't be missed
                throw new NotConfirmed("job " + jobId + " was not sent: the broker was not reached in time", null);
            }
            sending = sending.compareTo(timeout) < 0 ? sending : timeout;
            send(job, options.correlationId(correlationId).timeout(sending));
            return events.find(jobId, correlationId, deadline);
        }
    }

    /**
     * What became of a job that was sent before, by whomever: at once, where it has ended.
     *
     * <p>What is no event of banshi is passed over, and logged.
     *
     * @param start where in the log to begin: the first event of the job from there on is taken
     * @param correlationId of which sending; null or empty: of any
     */
    public Outcome await(String jobId, Start start, String correlationId, Duration timeout)
            throws BanshiException, InterruptedException {
        try (Events events = events(start)) {
            return events.find(jobId, correlationId, new Deadline(timeout));
        }
    }

    /** The events of thirty days, from a place on. */
    public Events events(Start start) {
        return new Events(this, start.offset());
    }

    private void drop() {
        if (sender != null) {
            sender.connection.abort(1_000);
            sender = null;
        }
    }

    /**
     * The stream of events, read on where it was when a connection is lost; repeats are dropped. For one
     * thread.
     */
    public static final class Events implements AutoCloseable {
        /** Repeats are dropped among so many events. */
        private static final int REMEMBERED = 100_000;

        /** How far clocks may differ. */
        private static final Duration CLOCKS = Duration.ofMinutes(5);

        private final BanshiClient client;
        private final String queue;
        private final Set<String> seen =
                Collections.newSetFromMap(
                        new LinkedHashMap<>() {
                            private static final long serialVersionUID = 1;

                            @Override
                            protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                                return size() > REMEMBERED;
                            }
                        });
        private Object start;
        private Connection connection;
        private Channel channel;
        private BlockingQueue<Delivery> arrived;

        private Events(BanshiClient client, Object start) {
            this.client = client;
            this.queue = client.prefix + ".events.log";
            this.start = start;
        }

        /**
         * The next event, or nothing when there was none for so long. Keep {@code offset + 1} with what
         * you made of it, to go on there.
         */
        public Optional<Event> next(Duration idle) throws BanshiException, InterruptedException {
            Deadline deadline = new Deadline(idle);
            while (true) {
                Delivery found = take(deadline);
                if (found == null) {
                    return Optional.empty();
                }
                Event event = read(found);
                if (seen.add(event.source() + " " + event.id())) {
                    return Optional.of(event);
                }
            }
        }

        /** Begins to listen; false when that was not possible in time. */
        private boolean attach(Deadline deadline) throws BanshiException, InterruptedException {
            for (Pause pause = new Pause(); ; ) {
                if (client.closed) {
                    throw new Closed("no events from the broker: the client is closed");
                }
                Exception last;
                try {
                    connection = connect(client.factory, deadline);
                    channel = connection.createChannel();
                    channel.basicQos(100);
                    BlockingQueue<Delivery> into = new LinkedBlockingQueue<>();
                    arrived = into;
                    Map<String, Object> arguments = Map.of("x-stream-offset", start);
                    channel.basicConsume(queue, false, "", false, false, arguments, new Listener(channel, into));
                    // Where to go on if the connection is lost before anything arrived.
                    if (start.equals("last")) { // then nothing was there
                        start = "first";
                    } else if (start.equals("next")) { // rather some events from before than to miss one
                        start = Date.from(Instant.now().minus(CLOCKS));
                    }
                    return true;
                } catch (IOException | ShutdownSignalException error) {
                    last = error;
                    close();
                    throwIfRefused(error);
                }
                LOG.warn("no events from the broker, trying again: {}", last.toString());
                if (!pause.rest(deadline)) {
                    return false;
                }
            }
        }

        private Delivery take(Deadline deadline) throws BanshiException, InterruptedException {
            while (true) {
                if (connection == null && !attach(deadline)) {
                    return null;
                }
                Delivery found = arrived.poll(deadline.left().toNanos(), TimeUnit.NANOSECONDS);
                if (found == null) {
                    return null;
                }
                if (found.body != null) {
                    start = offset(found) + 1;
                    try {
                        channel.basicAck(found.tag, false);
                    } catch (IOException | ShutdownSignalException error) {
                        LOG.debug("the connection is lost: {}", error.toString()); // as the listener says, too
                    }
                    return found;
                }
                LOG.warn("the connection is lost, reading events on from {}", start);
                close();
            }
        }

        private long offset(Delivery found) throws BrokerRefused {
            Map<String, Object> headers = found.properties.getHeaders();
            if (headers == null || !(headers.get("x-stream-offset") instanceof Number offset)) {
                throw new BrokerRefused(queue + " is no stream");
            }
            return offset.longValue();
        }

        /** What became of a job; what is no event of banshi does not end it. */
        private Outcome find(String jobId, String correlationId, Deadline deadline)
                throws BanshiException, InterruptedException {
            while (true) {
                Delivery found = take(deadline);
                if (found == null) {
                    throw new TimedOut("job " + jobId + ": there was no event of it in time");
                }
                boolean its = nothing(correlationId) || correlationId.equals(found.properties.getCorrelationId());
                try {
                    Event event = read(found);
                    if (its && jobId.equals(event.jobId())) {
                        return event.outcome();
                    }
                } catch (UnknownEvent error) {
                    LOG.warn("passed over: {}", error.getMessage());
                }
            }
        }

        private Event read(Delivery found) throws BrokerRefused, UnknownEvent {
            long offset = offset(found);
            try {
                JsonNode body = found.structured();
                return new Event(
                        Objects.requireNonNull(body.required("id").textValue()),
                        Objects.requireNonNull(body.required("source").textValue()),
                        Objects.requireNonNull(body.required("type").textValue()),
                        Instant.parse(body.required("time").asText()),
                        body.path("subject").textValue(),
                        offset,
                        body);
            } catch (IOException | RuntimeException error) {
                throw new UnknownEvent(queue + " has no event at offset " + offset, error);
            }
        }

        /** Ends the connection. */
        @Override
        public void close() {
            if (connection != null) {
                connection.abort(1_000);
                connection = null;
            }
        }
    }

    /** A message; without a body, the end of them. */
    private record Delivery(long tag, AMQP.BasicProperties properties, byte[] body) {
        /** An event whole, in whichever of CloudEvents' two modes its message has it. */
        JsonNode structured() throws IOException {
            JsonNode read = JSON.readTree(body);
            String contentType = properties.getContentType();
            if (contentType != null && contentType.startsWith("application/cloudevents")) {
                return read;
            }
            ObjectNode event = JSON.createObjectNode().put("datacontenttype", contentType);
            event.set("data", read);
            if (read.path("job_id").isTextual()) { // not every subject can stand in a header
                event.set("subject", read.get("job_id"));
            }
            for (Map.Entry<String, Object> header : properties.getHeaders().entrySet()) {
                if (header.getKey().startsWith("ce-")) {
                    event.put(header.getKey().substring(3), header.getValue().toString());
                }
            }
            return event;
        }
    }

    private static final class Listener extends DefaultConsumer {
        private final BlockingQueue<Delivery> arrived;

        Listener(Channel channel, BlockingQueue<Delivery> arrived) {
            super(channel);
            this.arrived = arrived;
        }

        @Override
        public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
            arrived.add(new Delivery(envelope.getDeliveryTag(), properties, body));
        }

        @Override
        public void handleCancel(String tag) {
            arrived.add(new Delivery(0, null, null));
        }

        @Override
        public void handleShutdownSignal(String tag, ShutdownSignalException signal) {
            arrived.add(new Delivery(0, null, null));
        }
    }

    /** A connection with confirms, and one job on its way at a time: a return does not say whose it is. */
    private static final class Sender {
        private final Connection connection;
        private final Channel channel;
        private volatile String returned;

        Sender(Connection connection) throws IOException {
            this.connection = connection;
            try {
                channel = connection.createChannel();
                channel.confirmSelect();
                // Before the confirmation, as the broker sends them, and on the same thread.
                channel.addReturnListener((code, text, exchange, key, properties, body) -> returned = code + " " + text);
            } catch (IOException | ShutdownSignalException error) {
                connection.abort(1_000);
                throw error;
            }
        }

        void publish(
                String exchange, Lane lane, byte[] body, AMQP.BasicProperties properties, Deadline deadline)
                throws IOException, InterruptedException, TimeoutException, BanshiException {
            returned = null;
            channel.basicPublish(exchange, lane.key(), true, properties, body);
            // No time is no limit there.
            boolean taken = channel.waitForConfirms(Math.max(1, deadline.left().toMillis()));
            if (returned != null) {
                throw new NoSuchLane("no queue takes lane " + lane.key() + " of " + exchange + ": " + returned);
            }
            if (!taken) {
                throw new QueueFull("lane " + lane.key() + " of " + exchange + " is full: wait, and send the job again");
            }
        }
    }

    private static final class Deadline {
        private final long ends;

        Deadline(Duration timeout) {
            ends = System.nanoTime() + timeout.toNanos();
        }

        Duration left() {
            return Duration.ofNanos(Math.max(0, ends - System.nanoTime()));
        }
    }

    /** Between two tries to reach the broker. */
    private static final class Pause {
        private long millis = 100;

        /** False, and at once, where that is beyond the deadline. */
        boolean rest(Deadline deadline) throws InterruptedException {
            if (Thread.interrupted()) {
                throw new InterruptedException("the call was cancelled");
            }
            if (deadline.left().toMillis() <= millis) {
                return false;
            }
            Thread.sleep(millis);
            millis = Math.min(2 * millis, 5_000);
            return true;
        }
    }

    private static Connection connect(ConnectionFactory factory, Deadline deadline) throws IOException {
        ConnectionFactory limited = factory.clone();
        int millis = (int) Math.max(1, Math.min(deadline.left().toMillis(), 10_000));
        limited.setConnectionTimeout(millis);
        limited.setHandshakeTimeout(millis);
        limited.setChannelRpcTimeout(millis);
        // By its name, which its certificate has: the library would look up its address, and ask for that.
        Address broker = new Address(limited.getHost(), limited.getPort());
        try {
            return limited.newConnection(null, new ListAddressResolver(List.of(broker)), "banshi-client");
        } catch (TimeoutException error) {
            throw new IOException("the broker did not answer in time", error);
        }
    }

    /** What another try would not change. */
    private static void throwIfRefused(Exception error) throws BrokerRefused {
        if (error instanceof AuthenticationFailureException) { // a "possible" one may be a lost connection
            throw new BrokerRefused(error);
        }
        for (Throwable why = error; why != null; why = why.getCause()) {
            if (why instanceof CertificateException) {
                throw new BrokerRefused(why);
            }
        }
        Throwable cause = error instanceof ShutdownSignalException ? error : error.getCause();
        if (!(cause instanceof ShutdownSignalException signal)) {
            return;
        }
        if (signal.getReason() instanceof AMQP.Channel.Close
                || signal.getReason() instanceof AMQP.Connection.Close close
                        && (close.getReplyCode() == 403 || close.getReplyCode() == 530)) {
            throw new BrokerRefused(signal);
        }
    }

    /** The id of a job that can be sent so. */
    private static String jobId(String job, SendOptions options) throws InvalidJob {
        String id = jobId(job);
        String correlationId = options.correlationId();
        int length = correlationId == null ? 0 : correlationId.getBytes(StandardCharsets.UTF_8).length;
        if (length > 255) { // AMQP's short string
            throw new InvalidJob("job " + id + ": its correlation id has " + length + " bytes; there may be 255", null);
        }
        return id;
    }

    private static boolean nothing(String text) {
        return text == null || text.isEmpty();
    }

    /** A job's id. */
    static String jobId(String job) throws InvalidJob {
        JsonNode id;
        try {
            // Without a byte-order mark, which the service takes.
            id = JSON.readTree(job.startsWith("\uFEFF") ? job.substring(1) : job).path("job_id");
        } catch (JsonProcessingException error) {
            throw new InvalidJob("the job is not JSON: " + error.getMessage(), error);
        }
        if (!id.isTextual() || !JOB_ID.matcher(id.textValue()).matches()) {
            throw new InvalidJob(
                    "job_id is " + id + " and must be 1-128 of A-Z a-z 0-9 . _ -, a letter or digit first", null);
        }
        return id.textValue();
    }
}
