package morrow.compat;

import static morrow.compat.Env.GROUP_PARTITIONS;
import static morrow.compat.Env.await;
import static morrow.compat.Env.causeOf;
import static morrow.compat.Env.equal;
import static morrow.compat.Env.numbered;
import static morrow.compat.Env.read;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.TopicExistsException;

/** What administrators do. */
final class AdminChecks {
    static void createTopic(Env env) throws Exception {
        env.createTopic(3, Map.of("retention.ms", "3600000"));
        equal("partitions", partitions(env).size(), 3);
        NewTopic again = new NewTopic(env.topic, Optional.of(3), Optional.empty());
        Throwable cause = causeOf(env.admin.createTopics(List.of(again)).all());
        if (!(cause instanceof TopicExistsException)) {
            throw new AssertionError("creating the topic again: got " + cause);
        }
    }

    private static List<TopicPartitionInfo> partitions(Env env) throws Exception {
        Map<String, TopicDescription> topics = env.admin.describeTopics(List.of(env.topic)).allTopicNames().get();
        return topics.get(env.topic).partitions();
    }

    static void describeTopic(Env env) throws Exception {
        env.createTopic(2);
        List<TopicPartitionInfo> partitions = partitions(env);
        equal("partitions", partitions.size(), 2);
        for (TopicPartitionInfo p : partitions) {
            if (p.leader() == null || p.leader().isEmpty()) {
                throw new AssertionError("a partition has no leader: " + p);
            }
        }
    }

    static void createPartitions(Env env) throws Exception {
        env.createTopic(1);
        env.admin.createPartitions(Map.of(env.topic, NewPartitions.increaseTo(3))).all().get();
        await(() -> partitions(env).size() == 3);
    }

    static void deleteTopic(Env env) throws Exception {
        env.createTopic(1);
        equal("the topic is listed", env.admin.listTopics().names().get().contains(env.topic), true);
        env.admin.deleteTopics(List.of(env.topic)).all().get();
        await(() -> !env.admin.listTopics().names().get().contains(env.topic));
    }

    private static ConfigResource resource(Env env) {
        return new ConfigResource(ConfigResource.Type.TOPIC, env.topic);
    }

    private static Config configs(Env env) throws Exception {
        return env.admin.describeConfigs(List.of(resource(env))).all().get().get(resource(env));
    }

    static void describeConfigs(Env env) throws Exception {
        env.createTopic(1, Map.of("retention.ms", "7200000"));
        Config configs = configs(env);
        equal("retention.ms", configs.get("retention.ms").value(), "7200000");
        equal("cleanup.policy", configs.get("cleanup.policy").value(), "delete");
    }

    static void alterConfigs(Env env) throws Exception {
        env.createTopic(1);
        Collection<AlterConfigOp> set =
                List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "5400000"), AlterConfigOp.OpType.SET));
        env.admin.incrementalAlterConfigs(Map.of(resource(env), set)).all().get();
        await(() -> configs(env).get("retention.ms").value().equals("5400000"));
    }

    private static long offset(Env env, OffsetSpec spec) throws Exception {
        return env.admin.listOffsets(Map.of(env.partition, spec)).partitionResult(env.partition).get().offset();
    }

    static void listOffsets(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 7));
        equal("earliest", offset(env, OffsetSpec.earliest()), 0);
        equal("latest", offset(env, OffsetSpec.latest()), 7);
    }

    static void deleteRecords(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(0, 9));
        env.admin.deleteRecords(Map.of(env.partition, RecordsToDelete.beforeOffset(4))).all().get();
        equal("earliest", offset(env, OffsetSpec.earliest()), 4);
        equal("latest", offset(env, OffsetSpec.latest()), 10);
        equal("first value", read(env.consumerAtBeginning(), 1).get(0).value(), "4");
    }

    private static void commitZero(Env env) throws Exception {
        env.createTopic(1);
        env.admin.alterConsumerGroupOffsets(env.topic, Map.of(env.partition, new OffsetAndMetadata(0))).all().get();
    }

    private static Set<String> groups(Env env) throws Exception {
        return env.admin.listGroups().all().get().stream().map(GroupListing::groupId).collect(Collectors.toSet());
    }

    static void listGroups(Env env) throws Exception {
        commitZero(env);
        equal("the group is listed", groups(env).contains(env.topic), true);
    }

    static void describeGroup(Env env) throws Exception {
        env.createTopic(GROUP_PARTITIONS);
        Member m = env.join("classic");
        await(() -> m.assigned() == GROUP_PARTITIONS);
        ConsumerGroupDescription group =
                env.admin.describeConsumerGroups(List.of(env.topic)).all().get().get(env.topic);
        equal("state", group.groupState(), "Stable");
        equal("members", group.members().size(), 1);
    }

    static void deleteGroup(Env env) throws Exception {
        commitZero(env);
        env.admin.deleteConsumerGroups(List.of(env.topic)).all().get();
        equal("the group is listed", groups(env).contains(env.topic), false);
    }

    static void describeLogDirs(Env env) throws Exception {
        env.createTopic(1);
        env.produceValues(numbered(1, 10));
        List<Integer> brokers = env.admin.describeCluster().nodes().get().stream().map(Node::id).toList();
        long size = env.admin.describeLogDirs(brokers).allDescriptions().get().values().stream()
                .flatMap(dirs -> dirs.values().stream())
                .flatMap(dir -> dir.replicaInfos().entrySet().stream())
                .filter(replica -> replica.getKey().equals(env.partition))
                .mapToLong(replica -> replica.getValue().size())
                .sum();
        if (size <= 0) {
            throw new AssertionError("the size of the topic is " + size);
        }
    }

    static void describeCluster(Env env) throws Exception {
        List<String> brokers = env.admin.describeCluster().nodes().get().stream()
                .map(node -> node.host() + ":" + node.port())
                .toList();
        equal("brokers", brokers, List.of(env.bootstrap));
    }

    private AdminChecks() {}
}
