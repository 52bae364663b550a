"""What GlusterFS 10.3 answers on Debian 12, as it was recorded, shortened."""

from __future__ import annotations

import pytest

from deploy.phases import gluster, storage_look
from deploy.phases.errors import PhaseError
from deploy.phases.gluster import Brick, GlusterError

HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
FINE = "<opRet>0</opRet><opErrno>0</opErrno><opErrstr/>"
POOL = f"""{HEADER}<cliOutput>{FINE}
  <peerStatus>
    <peer>
      <uuid>bc427aee-7147-4ba2-8f30-43b23ce6f677</uuid>
      <hostname>10.78.3.12</hostname>
      <hostnames>
        <hostname>10.78.3.12</hostname>
        <hostname>head2</hostname>
      </hostnames>
      <connected>0</connected>
      <state>3</state>
      <stateStr>Peer in Cluster</stateStr>
    </peer>
    <peer>
      <uuid>135c6bec-d8a1-4d7b-a5d5-52476c616abf</uuid>
      <hostname>localhost</hostname>
      <connected>1</connected>
    </peer>
  </peerStatus>
</cliOutput>
"""
VOLUMES = f"""{HEADER}<cliOutput>{FINE}
  <volInfo>
    <volumes>
      <volume>
        <name>shared_data</name>
        <id>a4e3a61a-d451-411f-b7c5-2cbb8826a291</id>
        <status>1</status>
        <statusStr>Started</statusStr>
        <brickCount>2</brickCount>
        <replicaCount>2</replicaCount>
        <type>2</type>
        <typeStr>Replicate</typeStr>
        <bricks>
          <brick uuid="135c6bec-d8a1-4d7b-a5d5-52476c616abf">10.78.3.11:/srv/gluster/brick
            <name>10.78.3.11:/srv/gluster/brick</name>
            <hostUuid>135c6bec-d8a1-4d7b-a5d5-52476c616abf</hostUuid>
          </brick>
          <brick uuid="bc427aee-7147-4ba2-8f30-43b23ce6f677">10.78.3.12:/srv/gluster/brick
            <name>10.78.3.12:/srv/gluster/brick</name>
            <hostUuid>bc427aee-7147-4ba2-8f30-43b23ce6f677</hostUuid>
          </brick>
        </bricks>
        <optCount>2</optCount>
        <options>
          <option><name>network.ping-timeout</name><value>5</value></option>
          <option><name>cluster.quorum-type</name><value>auto</value></option>
        </options>
      </volume>
      <count>1</count>
    </volumes>
  </volInfo>
</cliOutput>
"""
STATUS = f"""{HEADER}<cliOutput>{FINE}
  <volStatus><volumes><volume><volName>shared_data</volName><nodeCount>3</nodeCount>
    <node><hostname>10.78.3.11</hostname><path>/srv/gluster/brick</path><status>1</status>
      <port>49203</port><ports><tcp>49203</tcp><rdma>N/A</rdma></ports><pid>408</pid></node>
    <node><hostname>10.78.3.12</hostname><path>/srv/gluster/brick</path><status>0</status>
      <port>N/A</port><ports><tcp>N/A</tcp><rdma>N/A</rdma></ports><pid>-1</pid></node>
    <node><hostname>Self-heal Daemon</hostname><path>localhost</path><status>1</status>
      <port>N/A</port><ports><tcp>N/A</tcp><rdma>N/A</rdma></ports><pid>425</pid></node>
    <tasks/></volume></volumes></volStatus>
</cliOutput>
"""
# Of a brick that is down gluster writes what should be an element into another one.
HEAL = f"""{HEADER}<cliOutput>
  <healInfo><bricks>
    <brick hostUuid="135c6bec-d8a1-4d7b-a5d5-52476c616abf">
      <name>10.78.3.11:/srv/gluster/brick</name><status>Connected</status>
      <totalNumberOfEntries>2</totalNumberOfEntries>
      <numberOfEntriesInHealPending>1</numberOfEntriesInHealPending>
      <numberOfEntriesInSplitBrain>1</numberOfEntriesInSplitBrain>
      <numberOfEntriesPossiblyHealing>0</numberOfEntriesPossiblyHealing>
    </brick>
    <brick hostUuid="531c0f54-2805-4e61-843b-4898f68ec1aa">
      <name>10.78.3.13:/srv/gluster/brick</name>
      <status>Failed to process entries completely. (Transport endpoint is not connected)
        totalNumberOfEntries0</status>
    </brick>
  </bricks></healInfo>{FINE}
</cliOutput>
"""
REFUSED = f"""{HEADER}<cliOutput>
  <opRet>-1</opRet><opErrno>30800</opErrno><opErrstr>Volume shared_data already started</opErrstr>
</cliOutput>
"""
ALREADY = f"""{HEADER}<cliOutput>
  <opRet>0</opRet><opErrno>2</opErrno><opErrstr/>
  <output>Host 10.78.3.12 port 24007 already in peer list</output>
</cliOutput>
"""


def test_a_pool_has_names_and_who_was_asked() -> None:
    other, own = gluster.pool(POOL)
    assert other.names == ("10.78.3.12", "head2")
    assert (other.connected, other.agreed) == (False, True)
    assert own.names == ("localhost",)
    assert own.connected


def test_a_volume_has_its_bricks_and_options() -> None:
    volume = gluster.volumes(VOLUMES)["shared_data"]
    assert volume.started
    assert volume.whole
    assert volume.bricks[1] == Brick("10.78.3.12", "/srv/gluster/brick")
    assert volume.options["cluster.quorum-type"] == "auto"


def test_only_bricks_that_are_up_are_online() -> None:
    assert gluster.online(STATUS) == {Brick("10.78.3.11", "/srv/gluster/brick")}


def test_a_brick_that_is_down_says_nothing_of_what_it_lacks() -> None:
    one, other = gluster.heals(HEAL)
    assert (one.pending, one.split) == (2, 1)
    assert other.pending is None


def test_what_gluster_refuses_is_told_in_its_words() -> None:
    assert gluster.said(REFUSED) == "Volume shared_data already started"
    assert gluster.said(ALREADY) == ""
    with pytest.raises(GlusterError, match="already started"):
        gluster.volumes(REFUSED)
    with pytest.raises(GlusterError, match="does not answer in XML"):
        gluster.pool("Connection failed. Please check if gluster daemon is operational.\n")


SEEN = f"""\
mounted fuse.glusterfs localhost:/shared_data
other localhost:/shared_data /mnt/before
other nas1:/shared_data /projects
other localhost:/another /mnt/another
brick full
root yes
keeps shared_data
knows bc427aee-7147-4ba2-8f30-43b23ce6f677
xml pool list
{POOL}
done pool list
xml volume info
{VOLUMES}
done volume info
end here
"""


def test_what_a_head_has_is_read_from_one_answer() -> None:
    seen = storage_look.parse(SEEN, "shared_data")
    assert seen.runs
    assert not seen.blank
    assert seen.uuid == "135c6bec-d8a1-4d7b-a5d5-52476c616abf"
    assert seen.elsewhere == ("/mnt/before",)
    assert storage_look.is_ours(seen.mounted, "shared_data")
    assert not storage_look.is_ours("fuse.glusterfs localhost:/another", "shared_data")
    assert not storage_look.is_ours("ext4 /dev/sdb1", "shared_data")


def test_a_volume_of_the_same_name_of_another_cluster_is_not_ours() -> None:
    assert not storage_look.is_ours("fuse.glusterfs nas1:/shared_data", "shared_data")


def test_a_head_that_is_asleep_is_blank_only_if_its_disk_is() -> None:
    assert storage_look.parse("brick absent\nend here\n", "shared_data").blank
    asleep = storage_look.parse("brick full\nkeeps shared_data\nend here\n", "shared_data")
    assert not asleep.blank
    assert not asleep.runs


def test_half_an_answer_is_refused() -> None:
    with pytest.raises(PhaseError, match="does not tell"):
        storage_look.parse(SEEN.removesuffix("end here\n"), "shared_data")


@pytest.mark.parametrize(
    "text",
    [
        SEEN.replace("brick full", "brick"),
        SEEN.replace("brick full\n", ""),
        "brick full\nbrick empty\nend here\n",
        f"brick absent\nxml pool list\n{POOL}\ndone pool list\nend here\n",
        "brick absent\nxml volume info\n<cliOutput/>\ndone volume info\nend here\n",
    ],
)
def test_a_head_that_tells_half_of_it_is_not_taken_for_one_that_has_nothing(text: str) -> None:
    with pytest.raises(PhaseError):
        storage_look.parse(text, "shared_data")


def test_an_answer_without_volumes_is_not_one_of_none() -> None:
    for text in (POOL, "<cliOutput/>"):
        with pytest.raises(GlusterError, match="something else"):
            gluster.volumes(text)
    with pytest.raises(GlusterError, match="something else"):
        gluster.pool(VOLUMES)


@pytest.mark.parametrize("count", ["²", "-", "", "9" * 5000, "1e3"])
def test_what_is_no_number_of_files_is_not_known(count: str) -> None:
    text = (
        "<cliOutput><healInfo><bricks><brick><name>a:/b</name>"
        f"<totalNumberOfEntries>{count}</totalNumberOfEntries></brick></bricks></healInfo></cliOutput>"
    )
    (heal,) = gluster.heals(text)
    assert heal.pending is None
