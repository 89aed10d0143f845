// What the tests ask of the running viewer: its own services and image cache, nothing of ours.
window.probe = (() => {
  const services = () => window.services;
  const displaySets = () => services()?.displaySetService?.getActiveDisplaySets?.() ?? [];
  const ofSeries = uid => displaySets().filter(one => one.SeriesInstanceUID === uid);
  const viewportId = () => services().viewportGridService.getActiveViewportId();
  const viewport = () => window.cornerstone.getRenderingEngines()
    .flatMap(engine => engine.getViewports()).find(one => one.id === viewportId());
  const base64 = array => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) {
      text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    }
    return btoa(text);
  };
  const plane = id => {
    const image = window.cornerstone.cache.getImage(id);
    const pixels = image.voxelManager?.getScalarData?.() ?? image.getPixelData();
    return {of: image.referencedImageId, shape: [image.rows, image.columns], type: pixels.constructor.name,
            data: base64(pixels)};
  };
  const everyPlane = map => [...new Set([
    ...map.imageIds, ...Object.values(map.labelmaps ?? {}).flatMap(one => one.imageIds),
  ])].map(plane);
  return {
    series: () => displaySets().map(one => one.SeriesInstanceUID),
    about: uid => ofSeries(uid).map(one => ({
      description: one.SeriesDescription, modality: one.Modality, handler: one.SOPClassHandlerId.split(".").pop(),
      unsupported: Boolean(one.unsupported),
      notes: (one.messages?.messages ?? []).map(message => message.id),
      patient: [one.instance?.PatientName ?? one.instances?.[0]?.PatientName ?? []].flat(),
    })),
    show: uid => services().viewportGridService.setDisplaySetsForViewport({
      viewportId: viewportId(), displaySetInstanceUIDs: [ofSeries(uid)[0].displaySetInstanceUID],
    }),
    isLoaded: uid => ofSeries(uid).length > 0 && ofSeries(uid).every(one => one.isLoaded),
    planes: uid => everyPlane(services().segmentationService
      .getSegmentation(ofSeries(uid)[0].displaySetInstanceUID).representationData.Labelmap),
    segments: uid => {
      const {displaySetInstanceUID: held} = ofSeries(uid)[0];
      const named = Object.values(services().segmentationService.getSegmentation(held).segments).filter(Boolean);
      return named.map(one => ({
        number: one.segmentIndex, label: one.label,
        colour: Array.from(services().segmentationService.getSegmentColor(viewportId(), held, one.segmentIndex) ?? []),
      }));
    },
    measurements: uid => ofSeries(uid).flatMap(one => (one.measurements ?? []).map(found => ({
      identifier: found.TrackingIdentifier, loaded: Boolean(found.loaded), image: found.imageId ?? "",
      labels: (found.labels ?? []).map(label => `${label.label} ${label.value}`),
      graphics: (found.coords ?? []).map(place => `${place.ValueType} ${place.GraphicType}`),
    }))),
    look: place => {
      const at = viewport()?.getImageIds?.().findIndex(one => one.endsWith(place)) ?? -1;
      return at >= 0 && viewport().setImageIdIndex(at).then(() => true);
    },
    isSettled: () => viewport()?.type !== "stack" || viewport().viewportStatus === "rendered",
    render: () => viewport()?.render(),
    resetWindow: () => void viewport()?.resetProperties?.(),
    image: () => viewport()?.getCurrentImageId?.() ?? "",
    onPage: points => {
      const frame = viewport().canvas.getBoundingClientRect();
      return points.map(point => viewport().worldToCanvas(point)).map(([x, y]) => [x + frame.left, y + frame.top]);
    },
    uncovered: points => points.map(([x, y]) => viewport().element.contains(document.elementFromPoint(x, y))),
  };
})();
