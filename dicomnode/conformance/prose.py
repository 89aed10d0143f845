"""The sentences of the statement; what is in braces is filled in from the configuration."""

from __future__ import annotations

from typing import Final

OVERVIEW: Final = """
{product} {version} is a node for image analysis in a PACS. It receives CT and MR studies by C-STORE, analyses those
that its routes name with the models of this configuration, and sends the results by C-STORE to the peers of the
route: segmentations, structured reports and what else a peer takes. It segments, measures and points; it does not
diagnose.

This statement describes this very configuration ({config}); another configuration accepts, proposes and makes other
things.
"""
INTENDED: Final = """
The results of a model that is not cleared carry Content Qualification RESEARCH. Every series description says NOT
VERIFIED, every report is UNVERIFIED; nothing is verified without a person.
"""
AUDIENCE: Final = """
For those who connect the node to a PACS, a modality or a viewer, and for those who judge whether they fit together.
It takes for granted that the reader knows DICOM's terms.
"""
REMARKS: Final = """
To compare conformance statements is the first step of a connection, not the last: it does not replace a test between
the two applications, and the standard alone does not guarantee that they work together.

The order of the sections is that of the template in PS3.2 Annex N; where an edition numbers them otherwise, their
titles count. The tables are generated from the program and the configuration by `dicomnode conformance`, and its
tests hold them against live associations. The sentences are written by hand.
"""
TERMS: Final = """
AE: application entity. CID: context group of PS3.16. IOD: information object definition. PDU: protocol data unit.
SCU, SCP: user and provider of a service class. SOP: service-object pair. TID: template of PS3.16.
"""
REFERENCES: Final = """
The DICOM Standard, PS3.2 to PS3.8, PS3.10, PS3.15 and PS3.16 (NEMA). IHE Radiology, AI Results (AIR), trial
implementation: results are designed along it; conformance to it is not claimed.
"""
DATA_FLOW: Final = """
    modality, PACS --C-STORE--> [ receiver ] --> spool --> [ keeper ] --> jobs --> [ worker ] --> results
                                     ^                                                                |
                                     |                                                                v
    PACS, viewer   --N-EVENT-REPORT--+     PACS, viewer <--C-STORE, N-ACTION, C-ECHO-- [ sender ] <---+
"""
FUNCTIONS: Final = """
The receiver waits for associations, stores what is sent and answers. The keeper indexes what arrived, decides when a
study is whole (quiet for {quiet_s} s with no association open, at the latest {max_wait_s} s after its first image)
and which routes apply. The worker analyses and encodes. The sender opens an association for each study and peer.
Receiver and sender share the AE title {ae_title}.
"""
SEQUENCE: Final = """
1. Images of a study arrive in any number of associations. 2. The study is whole; the routes are held against it. 3.
The models run, or the study is refused with a reason. 4. The objects go to each peer of the route: segmentations,
then the reports that refer to them, then the others, a manifest last. 5. Where the peer is so configured, storage
commitment is asked for. 6. Images that come later make the study whole again: a new analysis, new UIDs, and a report
that names the earlier one in Predecessor Documents Sequence.

The node never analyses its own objects: it knows them by SOP Instance UID, or by Manufacturer and Manufacturer's
Model Name.
"""
VERIFICATION: Final = """
SCU: `dicomnode check` sends one C-ECHO to each peer that gets results. SCP: every C-ECHO is answered.
"""
STORAGE_SCP: Final = """
Conformance level 2 (full): every attribute is kept, private ones too. The data set is stored as it came, byte for
byte; pixel data are not decoded on receipt. Success is answered only when the instance is durable. The same SOP
Instance again with the same data set changes nothing; with other pixels or geometry both are kept and the study is
not analysed; with other attributes both are kept and the newest count. Digital signatures are neither verified nor
made.
"""
STORAGE_SCU: Final = """
For each analysed study one association per receiving peer carries the objects in their order, each in the first of
its forms that the peer takes and accepts at negotiation. Each SOP Class is proposed with each transfer syntax in a
presentation context of its own, and only for the objects of that delivery. An object is sent as it lies where its
transfer syntax is accepted, else rewritten in an uncompressed one. A resend repeats the same bytes under the same
UIDs.

`dicomnode send` proposes the SOP Class of each file in the file's transfer syntax, Explicit VR Little Endian and
Implicit VR Little Endian.
"""
COMMITMENT: Final = """
Asked of: {asked}. After the last object of a delivery one N-ACTION (Action Type 1) names all of them under a new
Transaction UID. The answer is expected as N-EVENT-REPORT in an association that the peer opens to the node, in the
SCP role (role selection), or in the association that asked, which stays open for it for commit_listen_s. Event Type 1
completes the delivery; of Event Type 2 the failed instances are sent again. Without an answer, and where the N-ACTION
itself failed, commitment is asked for again after {wait_s} s; after {max_age_h} h the delivery has failed.
"""
NO_COMMITMENT: Final = """
No peer of this configuration has `storage_commitment = true`: commitment is not asked for. An N-EVENT-REPORT that
arrives all the same is answered as below.
"""
CUSTODY: Final = """
A peer with host and port may send N-ACTION (Action Type 1). The request is stored durably and answered; its outcome
follows as N-EVENT-REPORT in an association that the node opens to that host and port, proposing itself as SCP (role
selection). Event Type 1: everything is committed; Event Type 2: some is not, with its Failure Reason. An instance is
committed to when it is indexed, its file is on disk, and its SOP Class is that of the request. A report that the peer
does not take is made again, with growing pauses, for {max_age_h} h; the same request may be reported more than once.

**The node is no archive.** Its commitment means that the instance is analysed as the routes say and stays until its
study is finished and {keep_days} days old, or the oldest when the disk runs short.
"""
NO_CUSTODY: Final = """
Not offered by this configuration (`[receive] storage_commitment = false`): N-ACTION is answered with 0x0122.
"""
NOT_OFFERED: Final = """
Query/Retrieve, Modality Worklist, Modality Performed Procedure Step, Unified Procedure Step, Instance Availability
Notification, printing and DICOMweb are neither used nor provided.
"""
ENTITIES: Final = """
One application entity title serves both directions; receiver and sender are separate processes.
"""
ACCEPTANCE: Final = """
DICOM application context {context}. Asynchronous operations and user identity are not negotiated; of several transfer
syntaxes in one presentation context, the first in the order of the table of accepted contexts is accepted.
"""
INITIATION: Final = """
An association is opened when results are due, when commitment is asked for, by `dicomnode send`, and for C-ECHO by
`dicomnode check`; it is released after its last message.
"""
INTERFACE: Final = """
TCP/IP over what the operating system offers. {family} Names are resolved by the operating system.
"""
MEDIA: Final = """
No media services: the node reads and writes no DICOM media.
"""
CONFIGURATION: Final = """
The configuration is `node.toml` and one file for each model. Every value of this table can be changed, and takes
effect at the next start. Paths, and where the database is, are left out.
"""
CHARACTER_SETS: Final = """
Every result is written in ISO_IR 192 (UTF-8). Images are read in the character sets of the table below. Where an
image names none and holds bytes above 0x7F, the `charset_fallback` of its peer counts; without one, a study whose
patient name or identifiers cannot be read is not analysed, and no name is guessed. Sentences of reports, and
the meanings of the codes that people read, are in the language of the configuration (`{language}`); meanings by which
viewers find an item stay English.
"""
ATTRIBUTES: Final = """
Each table lists every attribute of an object as the node's encoders wrote it for made-up studies: two with nothing in
common, and one whose images have nothing but what analysis needs. Origin: *copied*, the value of the same attribute of
the source images, or of the one that is named; *model file*, stated there; *node*, the node's identity, made with its
database; *fixed*, the same in every object of this version; *generated*, computed for the object; *empty*, without a
value; *items*, a sequence whose items follow, marked with >. Where several origins are named, items differ. Presence:
ALWAYS, with a value; VNAP, value not always present; ANAP, attribute not always present; EMPTY, never with a value.
"""
UIDS: Final = """
Study Instance UID and Frame of Reference UID are those of the source. SOP Instance and Series Instance UIDs are
2.25. and a UUID of version 5 over the node's identity, the job and the object's role: the same job gives the same
UIDs, and another job other ones. Every object is in a series of its own.
"""
COERCIONS: Final = """
Values that results copy are made fit first; each change is noted with the job, without the value. What
is received is never changed.
"""
TEMPLATES: Final = """
Content items of each kind of report, merged; a value is given where it is the same in every report.
"""
EXTENSIONS: Final = """
The node adds no private attribute and defines no private SOP Class or transfer syntax. Its own codes, where it has
any, are in the scheme that Coding Scheme Identification Sequence names.
"""
