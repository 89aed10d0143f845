-- Send every series of images to the node once it is complete here: one association for each series.
-- What the node makes (segmentations, reports, captures, key objects) is never sent back to it:
-- by modality, by SOP class, and by the manufacturer that its results name.

local NODE = 'dicomnode'   -- its name in DicomModalities of orthanc.json

-- What the node takes: the same as [receive] sop_classes of node.toml. A series of other objects
-- (a dose page or summary that calls itself CT, for one) would only be refused, and fail here as a job.
local TAKEN = {
   ['1.2.840.10008.5.1.4.1.1.2'] = true,     -- CT Image Storage
   ['1.2.840.10008.5.1.4.1.1.2.1'] = true,   -- Enhanced CT Image Storage
   ['1.2.840.10008.5.1.4.1.1.4'] = true,     -- MR Image Storage
   ['1.2.840.10008.5.1.4.1.1.4.1'] = true,   -- Enhanced MR Image Storage
}

local NOT_IMAGES = { SEG = true, SR = true, PR = true, SC = true, OT = true, KO = true, DOC = true, RTSTRUCT = true }

-- The SOP class of a series: that of its first instance.
local function sopClass(seriesId)
   local first = ParseJson(RestApiGet('/series/' .. seriesId))['Instances'][1]
   return first and RestApiGet('/instances/' .. first .. '/metadata/SopClassUid')
end

function OnStableSeries(seriesId, tags, metadata)
   if NOT_IMAGES[tags['Modality']] or tags['Manufacturer'] == 'dicomnode' or not TAKEN[sopClass(seriesId)] then
      return
   end
   local order = { Resources = { seriesId }, Synchronous = false, StorageCommitment = false }
   RestApiPost('/modalities/' .. NODE .. '/store', DumpJson(order))
   print('series ' .. seriesId .. ' goes to ' .. NODE)
end
