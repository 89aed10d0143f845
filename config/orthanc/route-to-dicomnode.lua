-- Send every series to the node once it is complete here: one association for each series.
-- What the node makes (segmentations, reports, captures, key objects) is never sent back to it:
-- by modality, and by the manufacturer that its results name.

local NODE = 'dicomnode'   -- its name in DicomModalities of orthanc.json

local NOT_IMAGES = { SEG = true, SR = true, PR = true, SC = true, OT = true, KO = true, DOC = true, RTSTRUCT = true }

function OnStableSeries(seriesId, tags, metadata)
   if NOT_IMAGES[tags['Modality']] or tags['Manufacturer'] == 'dicomnode' then
      return
   end
   local order = { Resources = { seriesId }, Synchronous = false, StorageCommitment = false }
   RestApiPost('/modalities/' .. NODE .. '/store', DumpJson(order))
   print('series ' .. seriesId .. ' goes to ' .. NODE)
end
